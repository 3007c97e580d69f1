"""An authority that certifies servers for the tests, and the server's side of a TLS handshake."""

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.tcp import tcp_pair
from trio_ws_gateway import leg

HOUR = datetime.timedelta(hours=1)


class Authority:
    """``ca_file`` is what must be trusted for the certificates that ``server`` issues."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(
                self._name, self._name, self._key.public_key(), x509.random_serial_number(), now - HOUR, now + HOUR
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = directory / "authority.pem"
        self.ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def server(self, name: str, *, expired: bool = False) -> ssl.SSLContext:
        """The context of a server called ``name``, a host name or an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.datetime.now(datetime.UTC) + (-HOUR if expired else HOUR)
        certificate = (
            x509.CertificateBuilder(
                self._name, _name(name), key.public_key(), x509.random_serial_number(), end - 2 * HOUR, end
            )
            .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._directory / "server.pem"
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key_pem + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


async def tls_pair(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends of one TLS connection over the loopback, the client's first; something has passed already.

    So it is with every session, whose handshake is over: the client has read the tickets that TLS sends behind its own.
    """
    near, far = tcp_pair()
    async with trio.open_nursery() as nursery:
        accepted: list[ssl.SSLSocket] = []

        async def accept() -> None:
            accepted.append(await accept_tls(far, server))

        nursery.start_soon(accept)
        secure = await leg.start_tls(near, client, name)
    await leg.send_all(accepted[0], b"!")
    assert await leg.receive(secure, 1) == b"!"
    return secure, accepted[0]


async def accept_tls(sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The server's side of ``leg.start_tls``: it closes the socket where the handshake fails (``OSError``)."""
    secure = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(secure)
    except BaseException:
        leg.close(secure)
        raise
