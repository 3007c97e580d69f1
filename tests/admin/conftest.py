"""What makes a house quick to build."""

from collections.abc import Iterator

import pytest

from tests.certificates import Authority


@pytest.fixture(scope="package", autouse=True)
def _few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One certificate authority in place of the system's: those take 40 ms to load, and no test here speaks TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(Authority(tmp_path_factory.mktemp("authority")).ca_file))
        yield
