from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class woodfrog_netns_entry(_message.Message):
    __slots__ = ("link", "neighbour", "setting")
    LINK_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_FIELD_NUMBER: _ClassVar[int]
    SETTING_FIELD_NUMBER: _ClassVar[int]
    link: _containers.RepeatedCompositeFieldContainer[woodfrog_link]
    neighbour: _containers.RepeatedCompositeFieldContainer[woodfrog_neighbour]
    setting: _containers.RepeatedCompositeFieldContainer[woodfrog_setting]
    def __init__(self, link: _Optional[_Iterable[_Union[woodfrog_link, _Mapping]]] = ..., neighbour: _Optional[_Iterable[_Union[woodfrog_neighbour, _Mapping]]] = ..., setting: _Optional[_Iterable[_Union[woodfrog_setting, _Mapping]]] = ...) -> None: ...

class woodfrog_link(_message.Message):
    __slots__ = ("name", "tx_queue_length", "alias", "bridge", "port")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TX_QUEUE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    BRIDGE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    tx_queue_length: int
    alias: str
    bridge: _containers.RepeatedCompositeFieldContainer[woodfrog_link_setting]
    port: bytes
    def __init__(self, name: _Optional[str] = ..., tx_queue_length: _Optional[int] = ..., alias: _Optional[str] = ..., bridge: _Optional[_Iterable[_Union[woodfrog_link_setting, _Mapping]]] = ..., port: _Optional[bytes] = ...) -> None: ...

class woodfrog_link_setting(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class woodfrog_neighbour(_message.Message):
    __slots__ = ("family", "ifindex", "address", "link_address", "flags")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    IFINDEX_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LINK_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    family: int
    ifindex: int
    address: bytes
    link_address: bytes
    flags: int
    def __init__(self, family: _Optional[int] = ..., ifindex: _Optional[int] = ..., address: _Optional[bytes] = ..., link_address: _Optional[bytes] = ..., flags: _Optional[int] = ...) -> None: ...

class woodfrog_setting(_message.Message):
    __slots__ = ("path", "value")
    PATH_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    path: str
    value: str
    def __init__(self, path: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
