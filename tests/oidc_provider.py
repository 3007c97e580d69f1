"""An OpenID provider for tests: it signs tokens, and can serve its keys over real HTTP.

Minting needs no server. ``async with OidcProvider().serving() as provider`` adds one on a free port of
127.0.0.1, which can go down and come back on the same port, stall, fail, redirect, or answer anything at all.
"""

import datetime
import ipaddress
import json
import math
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

import h11
import trio
import trio.abc
import trio.testing
from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

SigningKey = RSAKey | ECKey | OKPKey


class Absent(Enum):
    """Stands for "leave this claim out", where ``None`` would be a JSON null."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def signing_key(algorithm: str, serial: int = 0) -> SigningKey:
    """A private key for that algorithm, the same one for the same serial: making RSA keys is slow."""
    match algorithm:
        case "ES256" | "ES384" | "ES512":
            return ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm])
        case "Ed25519" | "Ed448" | "EdDSA":
            return OKPKey.generate_key("Ed448" if algorithm == "Ed448" else "Ed25519")
        case _:
            return RSAKey.generate_key(2048)


def sign(key: SigningKey, payload: bytes, header: Mapping[str, Any] | bytes, *, algorithm: str = "") -> str:
    """A compact JWS over whatever bytes are given; ``header`` may be raw bytes too.

    ``algorithm`` (default: the header's) is what the signature is really made with.
    """
    raw_header = header if isinstance(header, bytes) else json.dumps(header).encode()
    name = algorithm or json.loads(raw_header)["alg"]
    signing_input = f"{b64(raw_header)}.{b64(payload)}"
    return f"{signing_input}.{b64(JWSRegistry.algorithms[name].sign(signing_input.encode(), key))}"


def write_certificate(directory: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "provider.pem"
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key_pem + certificate.public_bytes(Encoding.PEM))
    return path


@frozen(kw_only=True)
class Answer:
    """What the server says to one request. An infinite ``padding_bytes`` streams blanks for ever."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=(("Content-Type", "application/json"),))
    padding_bytes: float = 0


class OidcProvider:
    """Keys, a mint, and (while ``serving``) an issuer at a URL.

    ``requests`` lists the path of every request, ``request_headers`` its headers (names in lower case). ``answers``
    replaces what a path says. Times are those of ``clock``. With a ``certificate`` (PEM, with its key) it speaks TLS.
    """

    def __init__(
        self,
        *,
        algorithm: str = "RS256",
        issuer: str = "https://id.example.com/realms/robots",
        clock: Callable[[], float] = time.time,
        certificate: Path | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.issuer = issuer
        self.requests: list[str] = []
        self.request_headers: list[dict[str, str]] = []
        self.answers: dict[str, Answer] = {}
        self.keys: dict[str, SigningKey] = {}
        self.kid = ""
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._serial = 0
        self._port = 0
        self._flowing = trio.Event()
        self._flowing.set()
        self._listening: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self.rotate()

    # Keys and tokens

    def rotate(self, *, keep_old: bool = False) -> str:
        """Sign with a new key from now on, and return its kid. The old ones leave the key set unless kept."""
        if not keep_old:
            self.keys.clear()
        self._serial += 1
        self.kid = f"key-{self._serial}"
        self.keys[self.kid] = signing_key(self.algorithm, self._serial)
        return self.kid

    @property
    def key(self) -> SigningKey:
        return self.keys[self.kid]

    def jwk(self, kid: str | None = None) -> dict[str, Any]:
        """The public JWK with that kid (default: the current one)."""
        kid = kid or self.kid
        return {**self.keys[kid].as_dict(private=False), "kid": kid, "use": "sig", "alg": self.algorithm}

    def jwks(self) -> bytes:
        return json.dumps({"keys": [self.jwk(kid) for kid in self.keys]}).encode()

    def mint(self, header: Mapping[str, Any] | None = None, /, **claims: Any) -> str:  # noqa: ANN401
        """A token of this issuer for ``robot-7``, good for five minutes. ``claims`` and ``header`` are merged in;
        ``ABSENT`` leaves one out."""
        now = math.floor(self._clock())
        defaults: dict[str, Any] = {
            "iss": self.issuer,
            "sub": "robot-7",
            "aud": "gateway",
            "iat": now,
            "exp": now + 300,
        }
        return self.sign(json.dumps(_merged(defaults, claims)).encode(), header)

    def sign(self, payload: bytes, header: Mapping[str, Any] | None = None) -> str:
        """A JWS of this provider over any payload."""
        defaults = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid}
        return sign(self.key, payload, _merged(defaults, header or {}), algorithm=self.algorithm)

    # The server

    @property
    def discovery_path(self) -> str:
        return "/realms/robots/.well-known/openid-configuration"

    @property
    def jwks_path(self) -> str:
        return "/realms/robots/protocol/openid-connect/certs"

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.origin}{self.jwks_path}"

    def discovery(self) -> dict[str, Any]:
        return {"issuer": self.issuer, "jwks_uri": self.jwks_uri, "id_token_signing_alg_values_supported": ["RS256"]}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["OidcProvider"]:
        """Serve for the length of the block; ``issuer`` is then a URL of the server."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.serve)
            yield self
            nursery.cancel_scope.cancel()

    async def serve(self, *, task_status: trio.TaskStatus["OidcProvider"] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled: ``await nursery.start(provider.serve)``."""
        async with trio.open_nursery() as self._nursery:
            await self.come_up()
            self.issuer = f"{self.origin}/realms/robots"
            task_status.started(self)
            await trio.sleep_forever()

    async def come_up(self) -> None:
        """Listen (again, on the same port)."""
        assert self._nursery is not None, "not serving"
        self._port = await self._nursery.start(self._listen)

    async def go_down(self) -> None:
        """Refuse connections and drop the open ones."""
        assert self._listening is not None, "not serving"
        self._listening.cancel()
        await trio.testing.wait_all_tasks_blocked()

    def stall(self) -> None:
        """Take requests and answer nothing until ``flow()``."""
        self._flowing = trio.Event()

    def flow(self) -> None:
        self._flowing.set()

    def count(self, path: str) -> int:
        return self.requests.count(path)

    async def _listen(self, task_status: trio.TaskStatus[int]) -> None:
        listeners = await trio.open_tcp_listeners(self._port, host="127.0.0.1")
        with trio.CancelScope() as self._listening:
            task_status.started(listeners[0].socket.getsockname()[1])
            await trio.serve_listeners(self._converse, listeners)

    async def _converse(self, stream: trio.abc.Stream) -> None:
        """One request, one answer, goodbye."""
        if self._tls is not None:
            stream = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        http = h11.Connection(h11.SERVER)
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some()))
            if not isinstance(event, h11.Request):
                return
            path = event.target.decode()
            self.requests.append(path)
            self.request_headers.append({name.decode(): value.decode() for name, value in event.headers})
            await self._flowing.wait()
            await self._say(stream, http, self._answer(path))
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # the client has seen enough
        finally:
            with trio.move_on_after(0):
                await stream.aclose()

    def _answer(self, path: str) -> Answer:
        if path in self.answers:
            return self.answers[path]
        if path == self.jwks_path:
            return Answer(body=self.jwks())
        if path == self.discovery_path:
            return Answer(body=json.dumps(self.discovery()).encode())
        return Answer(status=404)

    async def _say(self, stream: trio.abc.Stream, http: h11.Connection, answer: Answer) -> None:
        headers = [*answer.headers, ("Connection", "close")]
        await stream.send_all(http.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
        await stream.send_all(http.send(h11.Data(data=answer.body)) or b"")
        left = answer.padding_bytes
        while left > 0:
            size = int(min(left, 65536))
            await stream.send_all(http.send(h11.Data(data=b" " * size)) or b"")
            left -= size
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")


def _merged(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**defaults, **changes}.items() if value is not ABSENT}
