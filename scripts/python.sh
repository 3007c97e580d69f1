# shellcheck shell=sh
# To be sourced: $python is one of 3.11 or newer that can make virtual environments. On a Debian machine it installs
# the package that can, as root or through sudo.

for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done
if [ -z "${python:-}" ]; then
    echo "$0: needs Python 3.11 or newer; set PYTHON to where it is" >&2
    exit 1
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian keeps what `python -m venv` needs in a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python{}.{}-venv".format(*sys.version_info))')
    if ! command -v apt-get >/dev/null; then
        echo "$0: $python has no venv module; install it ($package or the like)" >&2
        exit 1
    fi
    as_root apt-get update -qq || true
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"; then
        echo "$0: could not install $package; as root: apt-get install $package" >&2
        exit 1
    fi
fi
