#!/bin/sh
# Set everything up, then pass all tests.  `./test.sh --bench` measures instead; other arguments go to pytest.
set -eu
cd "$(dirname "$0")"
. ./setup.sh
prepare test
if [ "${1:-}" = --bench ]; then
    shift
    exec "$PYTHON" -m tests.bench "$@"
fi
"$BIN/ruff" check .
"$BIN/ruff" format --check .
"$BIN/mypy"
"$BIN/lint-imports"
[ "$(id -u)" = 0 ] || exec "$PYTHON" -m pytest "$@"
# A pid namespace of their own: nobody takes a pid between a dump and a restore, and nothing is left at the end.
exec unshare --pid --fork --mount-proc --kill-child "$PYTHON" tests/init.py "$PYTHON" -m pytest "$@"
