"""Where a development key is kept between commands: one JWK in a file that only its owner reads.

A file comes into being whole or not at all, and one that is there is never written over.
"""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from trio_ws_gateway.issuer.keys import SigningKey

MOST_CHARACTERS = 2**16  # more than any key has; what is longer is none


def open_or_create(path: Path, algorithm: str) -> tuple[SigningKey, bool]:
    """The key in that file, and whether it was made just now, for that algorithm.

    A key that is there stays what it is. Raises ``OSError``, and ``BadKey`` where the file holds something else.
    """
    with suppress(FileNotFoundError):
        return _read(path), False
    key = SigningKey.generate(algorithm)
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.") as draft:  # mode 0600
        draft.write(key.private_jwk())
        draft.flush()
        os.fsync(draft.fileno())
        try:
            os.link(draft.name, path)  # unlike a rename, this fails where somebody else was faster
        except FileExistsError:
            return _read(path), False
    return key, True


def _read(path: Path) -> SigningKey:
    with path.open(encoding="utf-8", errors="replace") as file:
        return SigningKey.from_jwk(file.read(MOST_CHARACTERS))
