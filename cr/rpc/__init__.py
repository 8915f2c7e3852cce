"""The engine asked by other programs: criu's RPC over a SOCK_SEQPACKET socket, `swrk FD` and `service`.

greeting.py       the question that every client asks first, answered before anything is imported
transport.py      packets, and what belongs to the process at the other end
requests.py       criu_opts as the engine's Options
actions.py        what each type of request does
conversation.py   one client: requests, notifications, answers
swrk.py           one client on an inherited socket
service.py        a listening socket, a process per client, with that client's rights
client.py         the other side, for Python programs
"""
