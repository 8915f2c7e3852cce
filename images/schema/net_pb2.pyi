from images.schema import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class nd_type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOOPBACK: _ClassVar[nd_type]
    VETH: _ClassVar[nd_type]
    TUN: _ClassVar[nd_type]
    EXTLINK: _ClassVar[nd_type]
    VENET: _ClassVar[nd_type]
    BRIDGE: _ClassVar[nd_type]
    MACVLAN: _ClassVar[nd_type]
    SIT: _ClassVar[nd_type]

class SysctlType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CTL_STR: _ClassVar[SysctlType]
    CTL_32: _ClassVar[SysctlType]
LOOPBACK: nd_type
VETH: nd_type
TUN: nd_type
EXTLINK: nd_type
VENET: nd_type
BRIDGE: nd_type
MACVLAN: nd_type
SIT: nd_type
CTL_STR: SysctlType
CTL_32: SysctlType

class net_device_entry(_message.Message):
    __slots__ = ("type", "ifindex", "mtu", "flags", "name", "tun", "address", "conf", "conf4", "conf6", "macvlan", "peer_ifindex", "peer_nsid", "master", "sit")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    IFINDEX_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TUN_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CONF_FIELD_NUMBER: _ClassVar[int]
    CONF4_FIELD_NUMBER: _ClassVar[int]
    CONF6_FIELD_NUMBER: _ClassVar[int]
    MACVLAN_FIELD_NUMBER: _ClassVar[int]
    PEER_IFINDEX_FIELD_NUMBER: _ClassVar[int]
    PEER_NSID_FIELD_NUMBER: _ClassVar[int]
    MASTER_FIELD_NUMBER: _ClassVar[int]
    SIT_FIELD_NUMBER: _ClassVar[int]
    type: nd_type
    ifindex: int
    mtu: int
    flags: int
    name: str
    tun: tun_link_entry
    address: bytes
    conf: _containers.RepeatedScalarFieldContainer[int]
    conf4: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    conf6: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    macvlan: macvlan_link_entry
    peer_ifindex: int
    peer_nsid: int
    master: int
    sit: sit_entry
    def __init__(self, type: _Optional[_Union[nd_type, str]] = ..., ifindex: _Optional[int] = ..., mtu: _Optional[int] = ..., flags: _Optional[int] = ..., name: _Optional[str] = ..., tun: _Optional[_Union[tun_link_entry, _Mapping]] = ..., address: _Optional[bytes] = ..., conf: _Optional[_Iterable[int]] = ..., conf4: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., conf6: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., macvlan: _Optional[_Union[macvlan_link_entry, _Mapping]] = ..., peer_ifindex: _Optional[int] = ..., peer_nsid: _Optional[int] = ..., master: _Optional[int] = ..., sit: _Optional[_Union[sit_entry, _Mapping]] = ...) -> None: ...

class tun_link_entry(_message.Message):
    __slots__ = ("flags", "owner", "group", "vnethdr", "sndbuf")
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VNETHDR_FIELD_NUMBER: _ClassVar[int]
    SNDBUF_FIELD_NUMBER: _ClassVar[int]
    flags: int
    owner: int
    group: int
    vnethdr: int
    sndbuf: int
    def __init__(self, flags: _Optional[int] = ..., owner: _Optional[int] = ..., group: _Optional[int] = ..., vnethdr: _Optional[int] = ..., sndbuf: _Optional[int] = ...) -> None: ...

class macvlan_link_entry(_message.Message):
    __slots__ = ("mode", "flags")
    MODE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    mode: int
    flags: int
    def __init__(self, mode: _Optional[int] = ..., flags: _Optional[int] = ...) -> None: ...

class sit_entry(_message.Message):
    __slots__ = ("link", "local", "remote", "ttl", "tos", "pmtudisc", "proto", "flags", "encap_type", "encap_flags", "encap_sport", "encap_dport", "rd_prefixlen", "rd_prefix", "relay_prefixlen", "relay_prefix")
    LINK_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TOS_FIELD_NUMBER: _ClassVar[int]
    PMTUDISC_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    ENCAP_TYPE_FIELD_NUMBER: _ClassVar[int]
    ENCAP_FLAGS_FIELD_NUMBER: _ClassVar[int]
    ENCAP_SPORT_FIELD_NUMBER: _ClassVar[int]
    ENCAP_DPORT_FIELD_NUMBER: _ClassVar[int]
    RD_PREFIXLEN_FIELD_NUMBER: _ClassVar[int]
    RD_PREFIX_FIELD_NUMBER: _ClassVar[int]
    RELAY_PREFIXLEN_FIELD_NUMBER: _ClassVar[int]
    RELAY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    link: int
    local: _containers.RepeatedScalarFieldContainer[int]
    remote: _containers.RepeatedScalarFieldContainer[int]
    ttl: int
    tos: int
    pmtudisc: bool
    proto: int
    flags: int
    encap_type: int
    encap_flags: int
    encap_sport: int
    encap_dport: int
    rd_prefixlen: int
    rd_prefix: _containers.RepeatedScalarFieldContainer[int]
    relay_prefixlen: int
    relay_prefix: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, link: _Optional[int] = ..., local: _Optional[_Iterable[int]] = ..., remote: _Optional[_Iterable[int]] = ..., ttl: _Optional[int] = ..., tos: _Optional[int] = ..., pmtudisc: _Optional[bool] = ..., proto: _Optional[int] = ..., flags: _Optional[int] = ..., encap_type: _Optional[int] = ..., encap_flags: _Optional[int] = ..., encap_sport: _Optional[int] = ..., encap_dport: _Optional[int] = ..., rd_prefixlen: _Optional[int] = ..., rd_prefix: _Optional[_Iterable[int]] = ..., relay_prefixlen: _Optional[int] = ..., relay_prefix: _Optional[_Iterable[int]] = ...) -> None: ...

class netns_entry(_message.Message):
    __slots__ = ("def_conf", "all_conf", "def_conf4", "all_conf4", "def_conf6", "all_conf6", "nsids", "ext_key", "unix_conf", "ipv4_sysctl")
    DEF_CONF_FIELD_NUMBER: _ClassVar[int]
    ALL_CONF_FIELD_NUMBER: _ClassVar[int]
    DEF_CONF4_FIELD_NUMBER: _ClassVar[int]
    ALL_CONF4_FIELD_NUMBER: _ClassVar[int]
    DEF_CONF6_FIELD_NUMBER: _ClassVar[int]
    ALL_CONF6_FIELD_NUMBER: _ClassVar[int]
    NSIDS_FIELD_NUMBER: _ClassVar[int]
    EXT_KEY_FIELD_NUMBER: _ClassVar[int]
    UNIX_CONF_FIELD_NUMBER: _ClassVar[int]
    IPV4_SYSCTL_FIELD_NUMBER: _ClassVar[int]
    def_conf: _containers.RepeatedScalarFieldContainer[int]
    all_conf: _containers.RepeatedScalarFieldContainer[int]
    def_conf4: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    all_conf4: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    def_conf6: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    all_conf6: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    nsids: _containers.RepeatedCompositeFieldContainer[netns_id]
    ext_key: str
    unix_conf: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    ipv4_sysctl: _containers.RepeatedCompositeFieldContainer[sysctl_entry]
    def __init__(self, def_conf: _Optional[_Iterable[int]] = ..., all_conf: _Optional[_Iterable[int]] = ..., def_conf4: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., all_conf4: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., def_conf6: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., all_conf6: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., nsids: _Optional[_Iterable[_Union[netns_id, _Mapping]]] = ..., ext_key: _Optional[str] = ..., unix_conf: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ..., ipv4_sysctl: _Optional[_Iterable[_Union[sysctl_entry, _Mapping]]] = ...) -> None: ...

class netns_id(_message.Message):
    __slots__ = ("target_ns_id", "netnsid_value")
    TARGET_NS_ID_FIELD_NUMBER: _ClassVar[int]
    NETNSID_VALUE_FIELD_NUMBER: _ClassVar[int]
    target_ns_id: int
    netnsid_value: int
    def __init__(self, target_ns_id: _Optional[int] = ..., netnsid_value: _Optional[int] = ...) -> None: ...

class sysctl_entry(_message.Message):
    __slots__ = ("type", "iarg", "sarg")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    IARG_FIELD_NUMBER: _ClassVar[int]
    SARG_FIELD_NUMBER: _ClassVar[int]
    type: SysctlType
    iarg: int
    sarg: str
    def __init__(self, type: _Optional[_Union[SysctlType, str]] = ..., iarg: _Optional[int] = ..., sarg: _Optional[str] = ...) -> None: ...

class tunfile_entry(_message.Message):
    __slots__ = ("id", "netdev", "detached", "ns_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    NETDEV_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    NS_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    netdev: str
    detached: bool
    ns_id: int
    def __init__(self, id: _Optional[int] = ..., netdev: _Optional[str] = ..., detached: _Optional[bool] = ..., ns_id: _Optional[int] = ...) -> None: ...
