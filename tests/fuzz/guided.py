"""One target, searched by atheris with coverage as its guide; a program, since a search ends its process.

``python -m tests.fuzz.guided frames`` and options and directories as libFuzzer has them.
"""

import sys

import atheris

with atheris.instrument_imports(include=["trio_ws_gateway"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].check)
    atheris.Fuzz()
