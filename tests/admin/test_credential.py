"""The operators' credential, in a setting or in a file: what will do, and what is said of the rest."""

from pathlib import Path

import pytest

from trio_ws_gateway.admin.credential import credential_of
from trio_ws_gateway.checking.checks import check
from trio_ws_gateway.config.loading import BadSettings, load
from trio_ws_gateway.config.settings import Settings

SECRET = "correct-horse-battery-staple"


def with_file(path: Path, content: bytes) -> Settings:
    path.write_bytes(content)
    return load({"ALLOW_ANONYMOUS": "true", "ADMIN_TOKEN_FILE": str(path)}).settings


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f" {SECRET}\r\n"])
def test_file(tmp_path: Path, content: str) -> None:
    """What an editor leaves around it does not count."""
    assert credential_of(with_file(tmp_path / "secret", content.encode())) == SECRET


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "shorter than 16"),
        (b"x" * 15, "shorter than 16"),
        (b"x" * 1025, "longer than 1024"),
        (b"correct horse battery staple", "white space"),
        ("corr\u00e9ct-horse-battery".encode(), "no ASCII"),
    ],
)
async def test_file_that_will_not_do(tmp_path: Path, content: bytes, wrong: str) -> None:
    """It is said what is wrong with it, by ``check`` too, and nothing of it is repeated."""
    path = tmp_path / "secret"
    settings = with_file(path, content)
    with pytest.raises(BadSettings, match=wrong) as caught:
        credential_of(settings)
    assert "horse" not in str(caught.value)
    with pytest.raises(BadSettings, match=wrong):
        await check(load({"ALLOW_ANONYMOUS": "true", "ADMIN_TOKEN_FILE": str(path)}), 0.1)


def test_file_that_is_gone(tmp_path: Path) -> None:
    """A file that cannot be read is a wrong setting."""
    settings = with_file(tmp_path / "secret", b"x")
    (tmp_path / "secret").unlink()
    with pytest.raises(BadSettings, match="cannot be read: No such file"):
        credential_of(settings)
