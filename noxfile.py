"""What is run before anything is believed: ``scripts/test`` runs the sessions below in their order.

Every session has an environment of its own, kept from run to run. ``nox -s tests -- -k frames`` passes the words after
``--`` on to pytest; what is covered is judged where all tests were run.
"""

from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "contract", "build", "tests"]

# One test process for each processor; `-- -n 0` is one for all.
SIDE_BY_SIDE = ("--numprocesses=auto", "--maxprocesses=4", "--dist=load")

GROUPS = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """The requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(GROUPS, name))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check every annotation."""
    session.install("--editable", ".", *group("types"), *group("nox"))
    session.run("mypy")


@nox.session
def contract(session: nox.Session) -> None:
    """Check that imports only point downwards, and that pure modules are pure."""
    session.install(*group("lint"))
    session.run("lint-imports")


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distribution and from it the wheel; install that where nothing else is."""
    session.install(*group("build"))
    output = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--outdir", str(output / "dist"))
    session.run("python", "-m", "venv", "--clear", str(output / "fresh"))
    fresh = output / "fresh" / "bin"
    [wheel] = (output / "dist").glob("*.whl")
    session.run(str(fresh / "pip"), "install", "--quiet", str(wheel), external=True)
    session.chdir(output)  # away from the sources, which would be imported in the wheel's place
    session.run(str(fresh / "trio-ws-gateway"), "--help", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests but those of the container; those that measure time for themselves, behind the others."""
    session.install("--editable", ".", *group("test"))
    session.env["COVERAGE_FILE"] = str(Path(".coverage").resolve())  # that of processes in other directories too
    session.run("coverage", "erase")
    chosen = session.posargs
    nothing_is_well = [0, 5] if chosen else [0]  # words that choose tests may choose none of these
    for marked, options in (("not container and not alone", SIDE_BY_SIDE), ("alone", ())):
        session.run("coverage", "run", "-m", "pytest", "-m", marked, *options, *chosen, success_codes=nothing_is_well)
    if not chosen:
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report")


@nox.session
def reference(session: nox.Session) -> None:
    """Write the pages of docs/ that come from tables in code; ``tests`` asserts that they are current."""
    session.install("--editable", ".")
    session.run("python", "-m", "trio_ws_gateway.reference")


@nox.session
def container(session: nox.Session) -> None:
    """Build the image, and test containers of it with podman."""
    session.install("--editable", ".", *group("test"))
    session.run("pytest", "-m", "container", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Run the Autobahn cases through the gateway. ``nox -s conformance -- --cases '1.*,7.*'``"""
    session.install("--editable", ".", *group("test"))
    session.run("python", "-m", "tests.conformance", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Search for input that breaks a promise, or costs too much. ``nox -s fuzz -- --seconds 600 --target frames``"""
    session.install("--editable", ".", *group("fuzz"))
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Let clients come and go by the thousand, and stay by the thousand: what does a gateway process keep of them?"""
    session.install("--editable", ".", *group("test"))
    session.run("python", "-m", "benchmarks.soak", *session.posargs)


@nox.session
def endure(session: nox.Session) -> None:
    """Break everything around a gateway at random, and count what is lost. ``nox -s endure -- --minutes 10``"""
    session.install("--editable", ".", *group("test"), *group("bench"))
    session.run("python", "-m", "benchmarks.endure", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the gateway beside its peers. ``nox -s bench -- --help``"""
    session.install("--editable", ".", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def hot(session: nox.Session) -> None:
    """Measure the hot functions one by one. ``nox -s hot -- --fast``"""
    session.install("--editable", ".", *group("bench"))
    session.run("python", "-m", "benchmarks.hot", *session.posargs)
