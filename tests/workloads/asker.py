"""A client of the service with the rights of a user: python3 asker.py SOCKET DIRECTORY REQUEST; prints the answer.

The directory is descriptor 100; the request and the answer are in hexadecimal.
"""

import os
import socket
import sys

sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(sys.argv[1])
os.dup2(os.open(sys.argv[2], os.O_RDONLY), 100)
sock.send(bytes.fromhex(sys.argv[3]))
print(sock.recv(4096).hex())
