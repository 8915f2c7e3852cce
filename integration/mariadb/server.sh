# The MariaDB of the tests: sh server.sh DIRECTORY.  A server, and a client with one session for ever.
cd "$1"
mariadb-install-db --no-defaults --user=root --datadir="$1/db" --auth-root-authentication-method=normal >install.log 2>&1
mariadbd --no-defaults --user=root --datadir="$1/db" --socket="$1/socket" --port=3306 --bind-address=127.0.0.1 \
    --innodb-buffer-pool-size=16M >server.log 2>&1 &
until mariadb --no-defaults -S socket -e 'select 1' >/dev/null 2>&1; do sleep 0.1; done
exec python3 client.py
