#!/bin/sh
# Set everything up, then freeze and thaw a container.  Needs root, python3 and apt; leaves nothing behind.
set -eu
cd "$(dirname "$0")"
. ./setup.sh
[ "$(id -u)" = 0 ] || fail "the demonstration makes a container: run it as root"
prepare
"$PYTHON" -m cr.cli check >/dev/null || fail "this kernel lacks what Woodfrog needs (see above)"
exec "$PYTHON" -m integration.demo
