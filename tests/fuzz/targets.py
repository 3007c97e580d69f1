"""All fuzz targets by name."""

from tests.fuzz import auth, frames, http, mqtt
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        http.HEAD,
        http.UPGRADE,
        http.COOKIES,
        frames.SCANNER,
        frames.OPENING,
        mqtt.CONNECT,
        mqtt.WALKER,
        mqtt.REFRAMER,
        auth.TOKEN,
        auth.KEY_SET,
    )
}
