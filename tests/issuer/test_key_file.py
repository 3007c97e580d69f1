"""The file of a development key."""

import os
import stat
from pathlib import Path
from unittest.mock import patch

import pytest

from trio_ws_gateway.issuer.key_file import open_or_create
from trio_ws_gateway.issuer.keys import BadKey, SigningKey


def test_created_for_its_owner(tmp_path: Path) -> None:
    """Where there is no file one is created, with mode 0600 whatever the umask, and nothing else is left behind."""
    before = os.umask(0)
    try:
        key, created = open_or_create(tmp_path / "key", "ES256")
    finally:
        os.umask(before)
    assert created
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert SigningKey.from_jwk((tmp_path / "key").read_text()).kid == key.kid


def test_kept(tmp_path: Path) -> None:
    """A key that is there stays, whatever algorithm is asked for."""
    first, _ = open_or_create(tmp_path / "key", "ES256")
    written = (tmp_path / "key").read_bytes()
    second, created = open_or_create(tmp_path / "key", "EdDSA")
    assert (second.kid, second.algorithm, created) == (first.kid, "ES256", False)
    assert (tmp_path / "key").read_bytes() == written


def test_somebody_was_faster(tmp_path: Path) -> None:
    """Whoever finds that another process created the file in the meantime takes that one's key."""
    path, ours, theirs = tmp_path / "key", SigningKey.generate("ES256"), SigningKey.generate("ES256")

    def meanwhile(_algorithm: str) -> SigningKey:
        path.write_text(theirs.private_jwk())
        return ours

    with patch.object(SigningKey, "generate", meanwhile):
        key, created = open_or_create(path, "ES256")
    assert (key.kid, created) == (theirs.kid, False)
    assert path.read_text() == theirs.private_jwk()
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"BEGIN PRIVATE KEY"])
def test_something_else(tmp_path: Path, content: bytes) -> None:
    """A file with something else in it is refused, and not touched."""
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadKey):
        open_or_create(tmp_path / "key", "ES256")
    assert (tmp_path / "key").read_bytes() == content
