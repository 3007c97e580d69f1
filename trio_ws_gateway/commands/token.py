"""``token``: tokens of a development issuer, for whoever tries a gateway out without a provider.

Standard output holds the token and nothing else, so that a shell can take it; whatever else there is to say goes to
standard error.
"""

import errno
import json
import shlex
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio
from attrs import evolve

from trio_ws_gateway.config import kinds
from trio_ws_gateway.config.values import Address
from trio_ws_gateway.issuer.key_file import open_or_create
from trio_ws_gateway.issuer.keys import BadKey, SigningKey, jwks
from trio_ws_gateway.issuer.minting import claims_of, mint, parse_claim, parse_seconds, parse_text
from trio_ws_gateway.issuer.server import serving
from trio_ws_gateway.wire.jwa import ALGORITHMS

KEY_FILE = "development-key.jwk"
ALGORITHM = "RS256"  # what a gateway expects unless told otherwise
ADDRESS = "127.0.0.1:8085"  # always the same, so that a token minted beside a running --serve is of its issuer


class Parsed(click.ParamType[Any]):
    """An option that is read by a function which raises ``ValueError`` with what is wrong."""

    def __init__(self, name: str, parse: Callable[[str], Any], right: str) -> None:
        self.name = name
        self._parse = parse
        self._right = right

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}; write {self._right}", param, ctx)


TEXT = Parsed("text", parse_text, "text in UTF-8")


@click.command(short_help="Mint a token for trying a gateway out.")
@click.option("--sub", type=TEXT, default="alice", show_default=True, help="The subject: whose token it is.")
@click.option("--role", "roles", type=TEXT, multiple=True, metavar="ROLE", help="A role that it grants; repeatable.")
@click.option(
    "--audience",
    "audience",
    type=TEXT,
    multiple=True,
    default=("gateway",),
    metavar="NAME",
    help="Whom it is meant for; repeatable.  [default: gateway]",
)
@click.option(
    "--lifetime",
    "lifetime_seconds",
    type=Parsed("span", parse_seconds, "90s, 15m, 8h, 1d or a number of seconds"),
    default="1h",
    show_default=True,
    metavar="SPAN",
    help="How long it is good: 90s, 15m, 8h, 1d, or seconds. Below zero it has expired already.",
)
@click.option(
    "--claim",
    "claims",
    type=Parsed("claim", parse_claim, "name=value"),
    multiple=True,
    metavar="NAME=VALUE",
    help="Any claim, also in the place of a usual one; repeatable. The value is JSON if it parses as such, and a "
    "string if not; null leaves the claim out.",
)
@click.option(
    "--issuer",
    type=TEXT,
    metavar="URL",
    help=f"The issuer that it names.  [default: http://{ADDRESS}; with --serve, where that serves]",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=KEY_FILE,
    show_default=True,
    help="The key that signs, a private JWK. Where there is none it is created, for its owner only.",
)
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    metavar="NAME",
    help=f"What the key is for, where it is created: {', '.join(ALGORITHMS)}.  [default: {ALGORITHM}]",
)
@click.option(
    "--jwks",
    "jwks_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the key set that verifies the token to this file.",
)
@click.option(
    "--serve",
    "address",
    type=Parsed("address", Address.parse, kinds.ADDRESS.right),
    is_flag=False,
    flag_value=ADDRESS,
    metavar="[HOST:PORT]",
    help=f"Be the issuer, with discovery and key set, until Ctrl-C.  [default: {ADDRESS}; port 0: a free one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print token, claims, expiry and key file as one JSON object.")
def token(
    sub: str,
    roles: tuple[str, ...],
    audience: tuple[str, ...],
    lifetime_seconds: float,
    claims: tuple[tuple[str, object], ...],
    issuer: str | None,
    key_file: Path,
    algorithm: str | None,
    jwks_file: Path | None,
    address: Address | None,
    as_json: bool,
) -> None:
    """Mint a token for trying a gateway out, with a development key of your own.

    Whoever has the key can be anybody: never let a gateway in production trust it.

    \b
    A token in a shell variable, and a session with it:
      TOKEN=$(trio-ws-gateway token --sub alice --role operator)
      wscat -c ws://localhost:8080/ws -H "Authorization: Bearer $TOKEN"

    \b
    An issuer for a gateway (prints the settings that point to it), and further tokens from another terminal:
      trio-ws-gateway token --serve
      trio-ws-gateway token --sub bob --lifetime 15m

    \b
    Tokens that must be refused: expired, of another issuer, for others, without a subject:
      trio-ws-gateway token --lifetime -5m
      trio-ws-gateway token --issuer https://evil.example
      trio-ws-gateway token --audience other
      trio-ws-gateway token --claim sub=null

    \b
    Claims of any shape; with Keycloak's roles, and the key set in a file for a web server of your own:
      trio-ws-gateway token --claim preferred_username=al --claim 'realm_access={"roles": ["admin"]}'
      trio-ws-gateway token --jwks public/jwks.json
    """
    key = _key(key_file, algorithm)
    if jwks_file is not None:
        _write_key_set(key, jwks_file, key_file)

    def say(issuer: str) -> None:
        text = mint(
            key,
            issuer=issuer,
            subject=sub,
            audience=audience,
            lifetime_seconds=lifetime_seconds,
            now=time.time(),
            roles=roles,
            claims=dict(claims),
        )
        click.echo(_described(text, key_file) if as_json else text)

    if address is None:
        say(f"http://{ADDRESS}" if issuer is None else issuer)
    else:
        trio.run(partial(_serve, key, key_file, address, _checked_issuer(issuer), audience, say))


def _key(path: Path, algorithm: str | None) -> SigningKey:
    try:
        key, created = open_or_create(path, algorithm or ALGORITHM)
    except BadKey as error:
        raise click.BadParameter(f"{path} {error}", param_hint="'--key'") from None
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--key'") from None
    if algorithm not in (None, key.algorithm):
        raise click.BadParameter(
            f"{path} is a key for {key.algorithm}; name another file with --key to have one for {algorithm}",
            param_hint="'--algorithm'",
        )
    if created:
        click.echo(f"Created {path}, a key for {key.algorithm}. Keep it to yourself: it can be anybody.", err=True)
    return key


def _write_key_set(key: SigningKey, path: Path, key_file: Path) -> None:
    try:
        if path.exists() and path.samefile(key_file):
            raise click.BadParameter(f"{path} is the key itself, which must not be published", param_hint="'--jwks'")
        path.write_text(jwks([key]), encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--jwks'") from None
    click.echo(f"Wrote {path}. Publish it with any web server, and give the gateway its address as JWKS_URL.", err=True)


def _checked_issuer(issuer: str | None) -> str | None:
    """An issuer that is served must be one that a gateway accepts as a setting."""
    try:
        return None if issuer is None else kinds.ISSUER.parse(issuer)
    except ValueError as error:
        raise click.BadParameter(f"{issuer!r} {error}; write {kinds.ISSUER.right}", param_hint="'--issuer'") from None


async def _serve(
    key: SigningKey,
    key_file: Path,
    address: Address,
    issuer: str | None,
    audience: tuple[str, ...],
    say: Callable[[str], None],
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with serving([key], host=address.host, port=address.port, url=issuer) as url:
                click.echo(f"Settings of a gateway that believes the tokens of {url}:\n", err=True)
                for line in _settings(url, audience, key.algorithm):
                    click.echo(f"    {line}", err=True)
                click.echo(
                    f"\nServing until Ctrl-C. Further tokens of it:\n\n    {_further(url, key_file)}\n", err=True
                )
                click.echo("A token:\n", err=True)
                say(url)
                await anext(signals)
        except OSError as error:
            advice = f"; {evolve(address, port=0)} is a free port" if error.errno == errno.EADDRINUSE else ""
            raise click.BadParameter(
                f"cannot listen on {address}: {error.strerror or error}{advice}", param_hint="'--serve'"
            ) from None


def _further(url: str, key_file: Path) -> str:
    """The command that mints a token of the issuer at ``url``, from any directory."""
    words = ["trio-ws-gateway", "token", "--issuer", url, "--key", str(key_file.absolute())]
    return shlex.join(words)


def _settings(url: str, audience: tuple[str, ...], algorithm: str) -> list[str]:
    lines = [f"OIDC_ISSUER={url}", f"JWT_EXPECTED_AUDIENCE={','.join(audience)}"]
    return lines if algorithm == ALGORITHM else [*lines, f"JWT_VALID_ALGORITHMS={algorithm}"]


def _described(text: str, key_file: Path) -> str:
    claims = claims_of(text)
    return json.dumps(
        {"token": text, "claims": claims, "expires_at": _date(claims.get("exp")), "key_file": str(key_file)}, indent=2
    )


def _date(seconds: Any) -> str | None:  # noqa: ANN401
    """A date in ISO 8601; ``None`` for what is none, as an overridden claim may be."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
