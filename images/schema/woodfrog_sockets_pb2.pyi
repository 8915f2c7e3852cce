from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class woodfrog_sk_sender(_message.Message):
    __slots__ = ("pid", "uid", "gid", "name")
    PID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    pid: int
    uid: int
    gid: int
    name: bytes
    def __init__(self, pid: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., name: _Optional[bytes] = ...) -> None: ...

class woodfrog_network_lock(_message.Message):
    __slots__ = ("method", "table", "netns_inode", "ipv6")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    NETNS_INODE_FIELD_NUMBER: _ClassVar[int]
    IPV6_FIELD_NUMBER: _ClassVar[int]
    method: str
    table: str
    netns_inode: int
    ipv6: bool
    def __init__(self, method: _Optional[str] = ..., table: _Optional[str] = ..., netns_inode: _Optional[int] = ..., ipv6: _Optional[bool] = ...) -> None: ...
