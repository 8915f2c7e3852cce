"""A client that asks a server for ever, over one connection; each answer is a higher number: /data/count."""

import http.client
import os
import time

with open("/data/starts", "a") as starts:
    starts.write("start\n")
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
while True:
    try:
        connection.connect()
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
own, last = connection.sock.getsockname(), 0
while True:
    connection.request("GET", "/")
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, text
    assert int(text) > last, f"{text} after {last}"
    assert connection.sock is not None, "the server has closed the connection"
    assert connection.sock.getsockname() == own, "it is another connection"
    last = int(text)
    with open("/data/next", "w") as output:
        output.write(f"{last}\n")
    os.rename("/data/next", "/data/count")
    time.sleep(0.01)
