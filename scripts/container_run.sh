#!/bin/sh
# Run the gateway in a container with the settings of .env:  sh scripts/container_run.sh [arguments for podman/docker run]
# Run another command there, such as `check`:                sh scripts/container_run.sh check --strict
#
#   CONTAINER_ENGINE  podman or docker; by default whichever is there, podman first
#   ENV_FILE          the settings, by default the .env beside .env.example; LISTEN in it does not count, the container has
#                     an address of its own
#   PORT              where the gateway is reached on this machine, by default 8080
#   IMAGE             by default trio-ws-gateway, which is built where it is missing
#   BUILD_ARGS        more arguments for that build, with blanks between: --build-arg BASE=... --volume ... --network ...
#
# It stays in the foreground, and Ctrl-C drains; with --detach it does not, and `podman stop trio-ws-gateway` does.
set -eu
case ${ENV_FILE:-} in
    '' | /*) env_file=${ENV_FILE:-} ;;
    *) env_file=$PWD/$ENV_FILE ;;
esac
cd "$(dirname "$0")/.."
image=${IMAGE:-trio-ws-gateway}

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
[ -n "$env_file" ] || [ -f .env ] || fail "there is no $PWD/.env; begin with: cp '$PWD/.env.example' '$PWD/.env'"
env_file=${env_file:-.env}
[ -f "$env_file" ] || fail "ENV_FILE is $env_file, which is no file"

if ! "$engine" image inspect "$image" >/dev/null 2>&1; then
    case ${engine##*/} in
        podman) form='--format docker' ;; # its own format knows no HEALTHCHECK
        *) form='--file Containerfile' ;;
    esac
    # shellcheck disable=SC2086 # several words each
    "$engine" build $form ${BUILD_ARGS:-} --tag "$image" .
fi

run() {
    exec "$engine" run --rm --env-file "$env_file" --env LISTEN=0.0.0.0:8080 \
        --read-only --cap-drop all --security-opt no-new-privileges "$@"
}

case ${1:-} in
    '' | -*) ;;
    *) run --interactive "$image" "$@" ;;
esac

# Whoever stops the container must leave it the time to drain.
drain=$(sed -n "s/^GRACEFUL_DRAIN_TIMEOUT_SECONDS=[\"']\{0,1\}0*\([1-9][0-9]*\).*/\1/p" "$env_file" | tail -n 1)

run --name trio-ws-gateway --publish "${PORT:-8080}:8080" --stop-timeout $((${drain:-30} + 10)) "$@" "$image"
