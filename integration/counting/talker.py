"""A server and its client in one process, over 127.0.0.1, that exchange numbers; the last one goes to /data/count."""

import os
import socket
import time

with open("/data/starts", "a") as starts:
    starts.write("start\n")
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
number = 0
while True:
    number += 1
    client.sendall(b"%d\n" % number)
    answer = server.recv(100)
    server.sendall(answer)
    assert client.recv(100) == b"%d\n" % number
    with open("/data/next", "w") as output:
        output.write(f"{number}\n")
    os.rename("/data/next", "/data/count")
    time.sleep(0.02)
