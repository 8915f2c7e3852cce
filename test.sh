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
exec "$PYTHON" -m pytest "$@"
