"""``python -m trio_ws_gateway`` is ``trio-ws-gateway``."""

from trio_ws_gateway.cli import main

main(prog_name="trio-ws-gateway")
