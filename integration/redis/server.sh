# The redis of the tests: sh server.sh DIRECTORY.  A server with its append-only file, and a client that blocks.
# The client waits for the queue by TCP, or by the unix socket where the second argument says so.
cd "$1"
redis-server redis.conf &
cli="redis-cli -p $(sed -n 's/^port //p' redis.conf)"
[ "${2:-}" != unix ] || cli="redis-cli -s redis.sock"
until [ "$($cli PING 2>/dev/null)" = PONG ]; do sleep 0.05; done
while $cli BLPOP queue 0 >>popped; do :; done
