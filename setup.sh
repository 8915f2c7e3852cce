# Sourced by demo.sh and test.sh: a virtual environment in .venv with everything that Woodfrog needs.
# A machine with only python3 (3.11 or newer) and apt is enough.

fail() {
    echo "woodfrog: $*" >&2
    exit 1
}

# packages NAME...: install Debian packages that are missing
packages() {
    missing=
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $name"
    done
    [ -z "$missing" ] && return
    [ "$(id -u)" = 0 ] || fail "these packages are missing, and only root can install them:$missing"
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] && policy= # the machine has a rule of its own about services that packages start
    [ -z "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy; }
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
        { apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $missing >/dev/null; } ||
        { rm -f $policy && fail "apt-get could not install:$missing"; }
    rm -f $policy
}

# test_packages: the real programs that the end-to-end tests freeze; none of them is started as a service
test_packages() {
    packages redis-server redis-tools nginx curl postgresql nodejs mariadb-server-core mariadb-client-core tmux less \
        iproute2 iptables nftables util-linux procps bubblewrap
}

# system_python: the interpreter to build the environment from
system_python() {
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "python3 is missing or older than 3.11"
}

# prepare [test]: build or update .venv; sets PYTHON and BIN
prepare() {
    [ -x /usr/bin/python3 ] || packages python3
    base=$(system_python)
    "$base" -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv
    packages libseccomp2
    [ "${1:-}" != test ] || test_packages
    BIN=$PWD/.venv/bin
    PYTHON=$BIN/python
    want=$(cat pyproject.toml "$0" | sha256sum)-${1:-run}
    if [ "$(cat .venv/.woodfrog 2>/dev/null)" != "$want" ]; then
        [ -x "$PYTHON" ] || "$base" -m venv .venv || fail "the virtual environment could not be made"
        "$PYTHON" -m pip install -q --disable-pip-version-check --config-settings editable_mode=compat \
            -e ".${1:+[$1]}" >.venv/pip.log 2>&1 || { tail -5 .venv/pip.log >&2; fail "pip could not install what Woodfrog needs"; }
        "$PYTHON" -m compileall -q runtime oci cr cgroups netns images .venv/lib >/dev/null || true  # for speed only
        echo "$want" >.venv/.woodfrog
    fi
    # for speed only, too: where it cannot be done, the programs that pip has written stay
    "$BIN/woodfrog" startup-snapshot --if-stale "$BIN" >.venv/startup.log 2>&1 || true
}
