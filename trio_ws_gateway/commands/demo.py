"""``demo``: a gateway with everything around it, to look at and to try out."""

import os
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
import trio

from trio_ws_gateway.config.values import Address

if TYPE_CHECKING:
    from trio_ws_gateway.demo.broker import StartBroker

FAILED_STATUS = 1
EXTRA = "pip install 'trio-ws-gateway[demo]' (in a checkout: pip install '.[demo]')"


@click.command(short_help="See a gateway at work, and try it out.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="An address of this machine. Whoever reaches it gets tokens, so mind the network that it is in.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="The gateway's port; where it is taken, another one.",
)
@click.option(
    "--broker",
    type=click.Choice(["auto", "mosquitto", "amqtt"]),
    default="auto",
    show_default=True,
    help="The MQTT broker: mosquitto where it is installed, and amqtt (in Python, MQTT 3.1.1 only) where it is not.",
)
@click.option("--once", is_flag=True, help="Play the scenes once and end; the exit status says how it went.")
def demo(host: str, port: int, broker: str, once: bool) -> None:
    """See a gateway at work, and try it out: nothing else is needed.

    Starts a token issuer, an MQTT broker, a raw backend that says everything back, and the gateway in front of them.
    Then clients come, good and bad: with tokens that are valid, expired, forged or missing, and with the client id of
    somebody else. What the gateway answers each is shown as it happens. Two of the good ones stay.

    What you need to try it yourself is printed: addresses, tokens, and commands for mosquitto_pub, paho, wscat, curl
    and a browser. What the gateway says of your own sessions is shown when they end.

    Ctrl-C ends it: the gateway drains, and nothing is left behind, nor is it where the demo is killed. All listen on
    this machine only, unless --host says otherwise, and on ports that are free.

    Exit status: 0 when all went as it should, also where you end it early; 1 when something did not.
    """
    if find_spec("rich") is None:
        raise click.ClickException(f"the demo needs more packages: {EXTRA}")
    from trio_ws_gateway.demo.children import ChildFailed
    from trio_ws_gateway.demo.ports import free_port
    from trio_ws_gateway.demo.run import Wanted, run
    from trio_ws_gateway.groups import leaves

    start_broker = _broker(broker)
    try:
        found = free_port(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}: {error.strerror or error}") from None
    if found != port != 0:
        click.echo(f"Port {port} is taken, so the gateway gets port {found}.")
    wanted = Wanted(listen=Address(host, found), start_broker=start_broker, once=once)
    went_well = False
    try:
        went_well = trio.run(partial(run, wanted, sys.stdout))
    except BaseExceptionGroup as group:
        failures = [error for error in leaves(group) if isinstance(error, ChildFailed)]
        if not failures:
            raise
        for failure in failures:  # whatever else went wrong followed from that
            click.echo(f"Error: {failure}", err=True)
    if not went_well:
        sys.exit(FAILED_STATUS)


def _broker(name: str) -> "StartBroker":
    from trio_ws_gateway.demo import broker

    program = None if name == "amqtt" else broker.mosquitto_program(os.environ.get("PATH", ""))
    if program is not None:
        has_other = name == "auto" and broker.amqtt_is_installed()
        return partial(broker.mosquitto_or_amqtt if has_other else broker.mosquitto, program)
    if name == "mosquitto":
        raise click.ClickException("mosquitto is not installed; on Debian: apt-get install mosquitto")
    if not broker.amqtt_is_installed():
        raise click.ClickException(f"no MQTT broker: install mosquitto, or {EXTRA}")
    return broker.amqtt
