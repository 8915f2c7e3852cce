from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class woodfrog_task_entry(_message.Message):
    __slots__ = ("tid", "cpus", "timer_slack", "io_priority", "coredump_filter", "autogroup_nice", "cpuid_faults", "stop_was_reported", "sleep", "exit_signal", "sealed", "exited", "name", "pid_for_children", "pid_for_children_is_new", "time_for_children", "outer")
    TID_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    TIMER_SLACK_FIELD_NUMBER: _ClassVar[int]
    IO_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    COREDUMP_FILTER_FIELD_NUMBER: _ClassVar[int]
    AUTOGROUP_NICE_FIELD_NUMBER: _ClassVar[int]
    CPUID_FAULTS_FIELD_NUMBER: _ClassVar[int]
    STOP_WAS_REPORTED_FIELD_NUMBER: _ClassVar[int]
    SLEEP_FIELD_NUMBER: _ClassVar[int]
    EXIT_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PID_FOR_CHILDREN_FIELD_NUMBER: _ClassVar[int]
    PID_FOR_CHILDREN_IS_NEW_FIELD_NUMBER: _ClassVar[int]
    TIME_FOR_CHILDREN_FIELD_NUMBER: _ClassVar[int]
    OUTER_FIELD_NUMBER: _ClassVar[int]
    tid: int
    cpus: _containers.RepeatedScalarFieldContainer[int]
    timer_slack: int
    io_priority: int
    coredump_filter: int
    autogroup_nice: int
    cpuid_faults: bool
    stop_was_reported: bool
    sleep: woodfrog_sleep_entry
    exit_signal: int
    sealed: _containers.RepeatedCompositeFieldContainer[woodfrog_span]
    exited: int
    name: _containers.RepeatedCompositeFieldContainer[woodfrog_memory_name]
    pid_for_children: int
    pid_for_children_is_new: bool
    time_for_children: int
    outer: woodfrog_outer_ids
    def __init__(self, tid: _Optional[int] = ..., cpus: _Optional[_Iterable[int]] = ..., timer_slack: _Optional[int] = ..., io_priority: _Optional[int] = ..., coredump_filter: _Optional[int] = ..., autogroup_nice: _Optional[int] = ..., cpuid_faults: _Optional[bool] = ..., stop_was_reported: _Optional[bool] = ..., sleep: _Optional[_Union[woodfrog_sleep_entry, _Mapping]] = ..., exit_signal: _Optional[int] = ..., sealed: _Optional[_Iterable[_Union[woodfrog_span, _Mapping]]] = ..., exited: _Optional[int] = ..., name: _Optional[_Iterable[_Union[woodfrog_memory_name, _Mapping]]] = ..., pid_for_children: _Optional[int] = ..., pid_for_children_is_new: _Optional[bool] = ..., time_for_children: _Optional[int] = ..., outer: _Optional[_Union[woodfrog_outer_ids, _Mapping]] = ...) -> None: ...

class woodfrog_outer_ids(_message.Message):
    __slots__ = ("uid", "gid", "group")
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    uid: _containers.RepeatedScalarFieldContainer[int]
    gid: _containers.RepeatedScalarFieldContainer[int]
    group: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, uid: _Optional[_Iterable[int]] = ..., gid: _Optional[_Iterable[int]] = ..., group: _Optional[_Iterable[int]] = ...) -> None: ...

class woodfrog_pid_entry(_message.Message):
    __slots__ = ("pid", "inner")
    PID_FIELD_NUMBER: _ClassVar[int]
    INNER_FIELD_NUMBER: _ClassVar[int]
    pid: int
    inner: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, pid: _Optional[int] = ..., inner: _Optional[_Iterable[int]] = ...) -> None: ...

class woodfrog_namespace_entry(_message.Message):
    __slots__ = ("id", "kind", "parent", "owner", "owner_uid", "setgroups_denied", "proc_device", "group")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    OWNER_UID_FIELD_NUMBER: _ClassVar[int]
    SETGROUPS_DENIED_FIELD_NUMBER: _ClassVar[int]
    PROC_DEVICE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: int
    parent: int
    owner: int
    owner_uid: int
    setgroups_denied: bool
    proc_device: _containers.RepeatedScalarFieldContainer[int]
    group: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[int] = ..., parent: _Optional[int] = ..., owner: _Optional[int] = ..., owner_uid: _Optional[int] = ..., setgroups_denied: _Optional[bool] = ..., proc_device: _Optional[_Iterable[int]] = ..., group: _Optional[_Iterable[int]] = ...) -> None: ...

class woodfrog_memory_name(_message.Message):
    __slots__ = ("start", "end", "name")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    name: bytes
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., name: _Optional[bytes] = ...) -> None: ...

class woodfrog_span(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class woodfrog_sleep_entry(_message.Message):
    __slots__ = ("clock", "remaining", "remainder_address", "call")
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    REMAINDER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    clock: int
    remaining: int
    remainder_address: int
    call: int
    def __init__(self, clock: _Optional[int] = ..., remaining: _Optional[int] = ..., remainder_address: _Optional[int] = ..., call: _Optional[int] = ...) -> None: ...

class woodfrog_file_entry(_message.Message):
    __slots__ = ("id", "name", "semaphore", "target", "packet", "events_lost", "filesystem", "slave")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEMAPHORE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PACKET_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LOST_FIELD_NUMBER: _ClassVar[int]
    FILESYSTEM_FIELD_NUMBER: _ClassVar[int]
    SLAVE_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: bytes
    semaphore: bool
    target: _containers.RepeatedCompositeFieldContainer[woodfrog_epoll_target]
    packet: _containers.RepeatedScalarFieldContainer[int]
    events_lost: bool
    filesystem: _containers.RepeatedCompositeFieldContainer[woodfrog_filesystem_mark]
    slave: woodfrog_device_file
    def __init__(self, id: _Optional[int] = ..., name: _Optional[bytes] = ..., semaphore: _Optional[bool] = ..., target: _Optional[_Iterable[_Union[woodfrog_epoll_target, _Mapping]]] = ..., packet: _Optional[_Iterable[int]] = ..., events_lost: _Optional[bool] = ..., filesystem: _Optional[_Iterable[_Union[woodfrog_filesystem_mark, _Mapping]]] = ..., slave: _Optional[_Union[woodfrog_device_file, _Mapping]] = ...) -> None: ...

class woodfrog_device_file(_message.Message):
    __slots__ = ("uid", "gid", "mode")
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    uid: int
    gid: int
    mode: int
    def __init__(self, uid: _Optional[int] = ..., gid: _Optional[int] = ..., mode: _Optional[int] = ...) -> None: ...

class woodfrog_filesystem_mark(_message.Message):
    __slots__ = ("path", "flags", "mask", "ignored_mask")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    IGNORED_MASK_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    flags: int
    mask: int
    ignored_mask: int
    def __init__(self, path: _Optional[bytes] = ..., flags: _Optional[int] = ..., mask: _Optional[int] = ..., ignored_mask: _Optional[int] = ...) -> None: ...

class woodfrog_epoll_target(_message.Message):
    __slots__ = ("tfd", "file_id")
    TFD_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    tfd: int
    file_id: int
    def __init__(self, tfd: _Optional[int] = ..., file_id: _Optional[int] = ...) -> None: ...

class woodfrog_autofs_entry(_message.Message):
    __slots__ = ("pipe_id", "directory", "symlink")
    PIPE_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_FIELD_NUMBER: _ClassVar[int]
    pipe_id: int
    directory: _containers.RepeatedScalarFieldContainer[bytes]
    symlink: _containers.RepeatedCompositeFieldContainer[woodfrog_autofs_symlink]
    def __init__(self, pipe_id: _Optional[int] = ..., directory: _Optional[_Iterable[bytes]] = ..., symlink: _Optional[_Iterable[_Union[woodfrog_autofs_symlink, _Mapping]]] = ...) -> None: ...

class woodfrog_autofs_symlink(_message.Message):
    __slots__ = ("name", "target")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    target: bytes
    def __init__(self, name: _Optional[bytes] = ..., target: _Optional[bytes] = ...) -> None: ...

class woodfrog_plugin_entry(_message.Message):
    __slots__ = ("id", "plugin", "data", "flags")
    ID_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    id: int
    plugin: str
    data: bytes
    flags: int
    def __init__(self, id: _Optional[int] = ..., plugin: _Optional[str] = ..., data: _Optional[bytes] = ..., flags: _Optional[int] = ...) -> None: ...

class woodfrog_io_uring_entry(_message.Message):
    __slots__ = ("id", "flags", "sq_entries", "cq_entries", "setup", "array_offset", "submitted", "completed", "rings", "requests", "file", "buffer", "files", "buffers", "owner")
    ID_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    SQ_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CQ_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SETUP_FIELD_NUMBER: _ClassVar[int]
    ARRAY_OFFSET_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    RINGS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BUFFERS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    id: int
    flags: int
    sq_entries: int
    cq_entries: int
    setup: int
    array_offset: int
    submitted: int
    completed: int
    rings: bytes
    requests: bytes
    file: _containers.RepeatedCompositeFieldContainer[woodfrog_io_uring_file]
    buffer: _containers.RepeatedCompositeFieldContainer[woodfrog_io_uring_buffer]
    files: int
    buffers: int
    owner: int
    def __init__(self, id: _Optional[int] = ..., flags: _Optional[int] = ..., sq_entries: _Optional[int] = ..., cq_entries: _Optional[int] = ..., setup: _Optional[int] = ..., array_offset: _Optional[int] = ..., submitted: _Optional[int] = ..., completed: _Optional[int] = ..., rings: _Optional[bytes] = ..., requests: _Optional[bytes] = ..., file: _Optional[_Iterable[_Union[woodfrog_io_uring_file, _Mapping]]] = ..., buffer: _Optional[_Iterable[_Union[woodfrog_io_uring_buffer, _Mapping]]] = ..., files: _Optional[int] = ..., buffers: _Optional[int] = ..., owner: _Optional[int] = ...) -> None: ...

class woodfrog_io_uring_file(_message.Message):
    __slots__ = ("index", "fd")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FD_FIELD_NUMBER: _ClassVar[int]
    index: int
    fd: int
    def __init__(self, index: _Optional[int] = ..., fd: _Optional[int] = ...) -> None: ...

class woodfrog_io_uring_buffer(_message.Message):
    __slots__ = ("index", "address", "length")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    index: int
    address: int
    length: int
    def __init__(self, index: _Optional[int] = ..., address: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class woodfrog_userfaultfd_entry(_message.Message):
    __slots__ = ("id", "flags", "features", "user_mode_only", "owner", "range")
    ID_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    USER_MODE_ONLY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    flags: int
    features: int
    user_mode_only: bool
    owner: int
    range: _containers.RepeatedCompositeFieldContainer[woodfrog_userfaultfd_range]
    def __init__(self, id: _Optional[int] = ..., flags: _Optional[int] = ..., features: _Optional[int] = ..., user_mode_only: _Optional[bool] = ..., owner: _Optional[int] = ..., range: _Optional[_Iterable[_Union[woodfrog_userfaultfd_range, _Mapping]]] = ...) -> None: ...

class woodfrog_userfaultfd_range(_message.Message):
    __slots__ = ("start", "end", "modes", "zero", "protected", "poisoned", "mapped", "private", "present")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    ZERO_FIELD_NUMBER: _ClassVar[int]
    PROTECTED_FIELD_NUMBER: _ClassVar[int]
    POISONED_FIELD_NUMBER: _ClassVar[int]
    MAPPED_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    modes: int
    zero: _containers.RepeatedCompositeFieldContainer[woodfrog_span]
    protected: _containers.RepeatedCompositeFieldContainer[woodfrog_span]
    poisoned: _containers.RepeatedCompositeFieldContainer[woodfrog_span]
    mapped: _containers.RepeatedCompositeFieldContainer[woodfrog_span]
    private: bool
    present: _containers.RepeatedCompositeFieldContainer[woodfrog_span]
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., modes: _Optional[int] = ..., zero: _Optional[_Iterable[_Union[woodfrog_span, _Mapping]]] = ..., protected: _Optional[_Iterable[_Union[woodfrog_span, _Mapping]]] = ..., poisoned: _Optional[_Iterable[_Union[woodfrog_span, _Mapping]]] = ..., mapped: _Optional[_Iterable[_Union[woodfrog_span, _Mapping]]] = ..., private: _Optional[bool] = ..., present: _Optional[_Iterable[_Union[woodfrog_span, _Mapping]]] = ...) -> None: ...

class woodfrog_message_queue(_message.Message):
    __slots__ = ("device", "inode", "name", "uid", "gid", "mode", "most", "size", "unlinked", "message")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    UNLINKED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    device: int
    inode: int
    name: bytes
    uid: int
    gid: int
    mode: int
    most: int
    size: int
    unlinked: bool
    message: _containers.RepeatedCompositeFieldContainer[woodfrog_queued_message]
    def __init__(self, device: _Optional[int] = ..., inode: _Optional[int] = ..., name: _Optional[bytes] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., mode: _Optional[int] = ..., most: _Optional[int] = ..., size: _Optional[int] = ..., unlinked: _Optional[bool] = ..., message: _Optional[_Iterable[_Union[woodfrog_queued_message, _Mapping]]] = ...) -> None: ...

class woodfrog_queued_message(_message.Message):
    __slots__ = ("priority", "content")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    priority: int
    content: bytes
    def __init__(self, priority: _Optional[int] = ..., content: _Optional[bytes] = ...) -> None: ...

class woodfrog_message_queue_file(_message.Message):
    __slots__ = ("id", "device", "inode", "flags")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    id: int
    device: int
    inode: int
    flags: int
    def __init__(self, id: _Optional[int] = ..., device: _Optional[int] = ..., inode: _Optional[int] = ..., flags: _Optional[int] = ...) -> None: ...
