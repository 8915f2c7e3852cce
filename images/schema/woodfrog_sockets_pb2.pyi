from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

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

class woodfrog_socket_entry(_message.Message):
    __slots__ = ("id", "option", "membership", "peer", "datagram", "moved")
    ID_FIELD_NUMBER: _ClassVar[int]
    OPTION_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    DATAGRAM_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    id: int
    option: _containers.RepeatedCompositeFieldContainer[woodfrog_socket_option]
    membership: _containers.RepeatedCompositeFieldContainer[woodfrog_membership]
    peer: woodfrog_peer_credentials
    datagram: _containers.RepeatedCompositeFieldContainer[woodfrog_datagram]
    moved: bytes
    def __init__(self, id: _Optional[int] = ..., option: _Optional[_Iterable[_Union[woodfrog_socket_option, _Mapping]]] = ..., membership: _Optional[_Iterable[_Union[woodfrog_membership, _Mapping]]] = ..., peer: _Optional[_Union[woodfrog_peer_credentials, _Mapping]] = ..., datagram: _Optional[_Iterable[_Union[woodfrog_datagram, _Mapping]]] = ..., moved: _Optional[bytes] = ...) -> None: ...

class woodfrog_datagram(_message.Message):
    __slots__ = ("source", "source_port", "destination", "data")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    source: bytes
    source_port: int
    destination: bytes
    data: bytes
    def __init__(self, source: _Optional[bytes] = ..., source_port: _Optional[int] = ..., destination: _Optional[bytes] = ..., data: _Optional[bytes] = ...) -> None: ...

class woodfrog_socket_option(_message.Message):
    __slots__ = ("level", "name", "value")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    level: int
    name: int
    value: bytes
    def __init__(self, level: _Optional[int] = ..., name: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...

class woodfrog_membership(_message.Message):
    __slots__ = ("interface", "group", "include", "source")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    interface: int
    group: bytes
    include: bool
    source: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, interface: _Optional[int] = ..., group: _Optional[bytes] = ..., include: _Optional[bool] = ..., source: _Optional[_Iterable[bytes]] = ...) -> None: ...

class woodfrog_peer_credentials(_message.Message):
    __slots__ = ("pid", "uid", "gid")
    PID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    uid: int
    gid: int
    def __init__(self, pid: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class woodfrog_sk_backlog(_message.Message):
    __slots__ = ("listener", "client", "maker", "packet")
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    MAKER_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    listener: int
    client: int
    maker: woodfrog_peer_credentials
    packet: _containers.RepeatedCompositeFieldContainer[woodfrog_sk_waiting]
    def __init__(self, listener: _Optional[int] = ..., client: _Optional[int] = ..., maker: _Optional[_Union[woodfrog_peer_credentials, _Mapping]] = ..., packet: _Optional[_Iterable[_Union[woodfrog_sk_waiting, _Mapping]]] = ...) -> None: ...

class woodfrog_sk_waiting(_message.Message):
    __slots__ = ("data", "sender")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    sender: woodfrog_peer_credentials
    def __init__(self, data: _Optional[bytes] = ..., sender: _Optional[_Union[woodfrog_peer_credentials, _Mapping]] = ...) -> None: ...
