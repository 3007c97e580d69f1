#!/bin/sh
# Run the gateway in a container with the settings of .env:  sh scripts/container_run.sh [arguments for podman/docker run]
#
#   CONTAINER_ENGINE  podman or docker; by default whichever is there, podman first
#   ENV_FILE          the settings, by default .env; LISTEN in it does not count, the container has an address of its own
#   PORT              where the gateway is reached on this machine, by default 8080
#   IMAGE             by default trio-ws-gateway, which is built where it is missing
#
# It stays in the foreground, and Ctrl-C drains; with --detach it does not, and `podman stop trio-ws-gateway` does.
set -eu
cd "$(dirname "$0")/.."
env_file=${ENV_FILE:-.env} image=${IMAGE:-trio-ws-gateway}

fail() {
    echo "scripts/container_run.sh: $1" >&2
    exit 1
}

engine=${CONTAINER_ENGINE:-}
for name in podman docker; do
    if [ -z "$engine" ] && command -v "$name" >/dev/null; then engine=$name; fi
done
[ -n "$engine" ] || fail "neither podman nor docker is here; install one of them"
command -v "$engine" >/dev/null || fail "CONTAINER_ENGINE is $engine, which is not here"
[ -f "$env_file" ] || fail "there is no $env_file; begin with: cp .env.example $env_file"

if ! "$engine" image inspect "$image" >/dev/null 2>&1; then
    case ${engine##*/} in
        podman) "$engine" build --format docker --tag "$image" . ;; # its own format knows no HEALTHCHECK
        *) "$engine" build --file Containerfile --tag "$image" . ;;
    esac
fi

# Whoever stops the container must leave it the time to drain.
drain=$(sed -n 's/^GRACEFUL_DRAIN_TIMEOUT_SECONDS=0*\([1-9][0-9]*\).*/\1/p' "$env_file" | tail -n 1)

exec "$engine" run --rm --name trio-ws-gateway --env-file "$env_file" --env LISTEN=0.0.0.0:8080 \
    --publish "${PORT:-8080}:8080" --stop-timeout $((${drain:-30} + 10)) \
    --read-only --cap-drop all --security-opt no-new-privileges "$@" "$image"
