"""The files in ``deploy``: their settings are right, and they give the drain the time that it takes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trio_ws_gateway.config.loading import load
from trio_ws_gateway.config.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
DEFAULT_DRAIN_SECONDS = Settings().graceful_drain_timeout_seconds


@pytest.fixture
def kubernetes() -> dict[str, Any]:
    """The objects by their kinds."""
    found: dict[str, Any] = {}
    for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        found[each["kind"]] = each
    return found


def test_pods(kubernetes: dict[str, Any]) -> None:
    """A pod takes its settings, is asked at the right paths, and has time for ``preStop`` and drain."""
    settings = load(kubernetes["ConfigMap"]["data"]).settings
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": kubernetes["ConfigMap"]["metadata"]["name"]}}]
    assert container["ports"][0]["containerPort"] == settings.listen.port
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + settings.graceful_drain_timeout_seconds


def test_service(kubernetes: dict[str, Any]) -> None:
    """The Service finds the pods, and their port by its name."""
    template = kubernetes["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert kubernetes["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["Service"]["spec"]["selector"] == labels
    assert (
        kubernetes["Service"]["spec"]["ports"][0]["targetPort"] == template["spec"]["containers"][0]["ports"][0]["name"]
    )


def test_systemd() -> None:
    """systemd kills it only when the drain is over, and first only asks the main process to end."""
    unit = dict(re.findall(r"(?m)^(\w+)=(.*)$", (DEPLOY / "trio-ws-gateway.service").read_text()))
    assert int(unit["TimeoutStopSec"]) > DEFAULT_DRAIN_SECONDS
    assert unit["KillMode"] == "mixed"
    assert unit["RestartPreventExitStatus"] == "2"
