"""What to try from another terminal: addresses, tokens, and commands that work as they are printed. Pure.

A token is too long to copy without accident, so it goes into a variable first. A command stands between comments above
it and an empty line below it.
"""

from shlex import quote

from attrs import frozen

from trio_ws_gateway.config.values import Address


@frozen(kw_only=True)
class Places:
    """Where everything is. ``python`` is one that has paho."""

    gateway: Address
    path: str
    issuer: str
    mqtt_port: int
    python: str

    @property
    def ws(self) -> str:
        return f"ws://{self.gateway}{self.path}"

    @property
    def http(self) -> str:
        return f"http://{self.gateway}"


def addresses(places: Places) -> str:
    return f"""\
gateway  {places.ws}
health   {places.http}/healthz  {places.http}/readyz
metrics  {places.http}/metrics
issuer   {places.issuer}/.well-known/openid-configuration
keys     {places.issuer}/jwks.json
tokens   {places.issuer}/token  (for whoever asks, in any name)
mqtt     {places.gateway.host}:{places.mqtt_port}  (plain TCP, wrapped into WebSocket for the gateway)"""


def commands(places: Places, *, good: str, expired: str) -> str:
    """``good`` and ``expired`` are tokens of alice's."""
    host, port, mqtt_port = places.gateway.host, places.gateway.port, places.mqtt_port
    return f"""\
# First, a token of alice's that is good for an hour.
TOKEN=$(curl -s '{places.issuer}/token?sub=alice' | cut -d'"' -f4)

# mosquitto_sub waits for a message (Debian: apt install mosquitto-clients). It
# cannot speak WebSocket to the path of a gateway, hence the plain port.
mosquitto_sub -h {host} -p {mqtt_port} -i alice-sub -u alice -P "$TOKEN" \\
  -t demo/hello -C 1 -W 60 & sleep 1

# mosquitto_pub sends it one.
mosquitto_pub -h {host} -p {mqtt_port} -i alice-pub -u alice -P "$TOKEN" \\
  -t demo/hello -m 'hello from mosquitto_pub'

# paho sends a message to itself, over WebSocket.
TOKEN="$TOKEN" {quote(places.python)} - <<'END'
import os
from paho.mqtt.client import CallbackAPIVersion, Client
def on_connect(client, data, flags, answer, properties):
    print("CONNACK:", answer)
    client.disconnect() if answer.is_failure else client.subscribe("demo/paho")
def on_subscribe(client, *rest):
    client.publish("demo/paho", "hello from paho")
def on_message(client, data, message):
    print(message.topic, message.payload.decode())
    client.disconnect()
VERSION = CallbackAPIVersion.VERSION2
client = Client(VERSION, "alice-paho", transport="websockets")
client.ws_set_options("{places.path}")
client.username_pw_set("alice", os.environ["TOKEN"])
client.on_connect, client.on_subscribe = on_connect, on_subscribe
client.on_message = on_message
client.connect("{host}", {port})
client.loop_forever()
END

# wscat (needs Node), the token in a header. Without -x you type yourself.
# Paste this one and the next alone: it would read what comes after it.
npx --yes wscat -c {places.ws} -x hello \\
  -H "Authorization: Bearer $TOKEN"

# wscat, the token as a subprotocol, as browsers have to.
npx --yes wscat -c {places.ws} -x hello -s bearer -s "$TOKEN"

# What the gateway counts.
curl -s {places.http}/metrics | grep '^ws_.*_total'

# To see refusals: an expired token, to go on with; or no token; or another's
# client id, for alice's have to begin with alice-.
TOKEN=$(curl -s '{places.issuer}/token?lifetime=-1h' | cut -d'"' -f4)

# The two tokens without curl.
GOOD={good}
EXPIRED={expired}

// A browser: open {places.http}/healthz and there the console (F12).
ws = new WebSocket("{places.ws}", ["bearer", "{good}"])
ws.onopen = () => ws.send("hello from a browser")
ws.onmessage = (message) => console.log("echo:", message.data)
ws.onclose = (end) => console.log("closed:", end.code, end.reason)"""
