from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class woodfrog_file_entry(_message.Message):
    __slots__ = ("id", "name", "semaphore", "target", "packet")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEMAPHORE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: bytes
    semaphore: bool
    target: _containers.RepeatedCompositeFieldContainer[woodfrog_epoll_target]
    packet: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[int] = ..., name: _Optional[bytes] = ..., semaphore: _Optional[bool] = ..., target: _Optional[_Iterable[_Union[woodfrog_epoll_target, _Mapping]]] = ..., packet: _Optional[_Iterable[int]] = ...) -> None: ...

class woodfrog_epoll_target(_message.Message):
    __slots__ = ("tfd", "file_id")
    TFD_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    tfd: int
    file_id: int
    def __init__(self, tfd: _Optional[int] = ..., file_id: _Optional[int] = ...) -> None: ...
