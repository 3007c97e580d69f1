"""What was acknowledged to an MQTT client is not lost, whatever is killed on the way: no PUBACK is the gateway's own.

With SIGKILL, at random moments, end the gateway and all its workers, or one worker; connections are reset. The broker
is ended with SIGTERM and started again: it then has what it has acknowledged. Killed with SIGKILL it would have
forgotten it, gateway or not: Mosquitto writes its sessions to disk from time to time, and at its end. Nor is it asked
that QoS 2 arrives once: when connections break, Mosquitto 2.0.11 repeats a few, also to clients that no gateway serves.
"""

import random
from pathlib import Path

import pytest
import trio

from tests.faults.site import publishing, site

pytestmark = pytest.mark.integration

SEED = 7
BETWEEN_SECONDS = 0.5  # one harm and the next, at most
MANY = 20


async def test_none_is_lost(tmp_path: Path) -> None:
    """Every message of QoS 1 whose PUBACK a client heard arrives, and of QoS 2 whose PUBCOMP it heard."""
    chance = random.Random(SEED)
    async with site(tmp_path, chance) as at:
        async with publishing(at) as count:
            for harm in chance.sample([at.cut, at.kill_worker, at.kill_gateway, at.restart_broker], 4):
                await trio.sleep(chance.uniform(0, BETWEEN_SECONDS))
                await harm()
        assert count.lost == []
        for robots in count.publishers.values():
            assert all(len(robot.acknowledged) > MANY and robot.connections > 1 for robot in robots)
