"""Descriptors that cannot be dumped, and why: what the user reads, with the way out."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cr.contract.dumping import OpenFile

# what the link of the descriptor begins with -> what it is, and why it stays
REASONS = {
    "anon_inode:[perf_event]": "a performance counter (perf_event_open): stop profiling",
    "anon_inode:bpf-prog": "a loaded BPF program, which the kernel does not give back: unload it",
    "anon_inode:bpf_link": "an attached BPF program (bpf_link): detach it",
    "anon_inode:bpf_iter": "a BPF iterator: close it",
    "anon_inode:bpf-token": "a BPF token: close it",
    "anon_inode:btf": "BPF type information: close it",
    "anon_inode:[fscontext]": "a filesystem being configured (fsopen): finish that mount first",
    "anon_inode:[landlock-ruleset]": "a Landlock ruleset that is not in force yet: restrict with it, or close it",
    "anon_inode:landlock-ruleset": "a Landlock ruleset that is not in force yet: restrict with it, or close it",
    "anon_inode:seccomp notify": "a seccomp listener, which supervises other tasks: end the supervision",
    "anon_inode:kvm-vm": "a virtual machine (KVM): shut it down, or let its own monitor save it",
    "anon_inode:kvm-vcpu": "a virtual processor (KVM): shut the machine down, or let its own monitor save it",
    "anon_inode:[vfio-device]": "a device given to user space (vfio): release it",
    "anon_inode:dmabuf": "a buffer shared with hardware (dma-buf): let the program release its devices",
    "anon_inode:sync_file": "a fence of a graphics device: let the program release its devices",
    "anon_inode:i915.gem": "memory of a graphics device: let the program release its devices",
    "anon_inode:[secretmem]": "secret memory (memfd_secret), which nobody else may read: close it",
    "anon_inode:[aio]": "an asynchronous I/O context",
    "anon_inode:[gpio-line]": "lines of a GPIO chip: release them",
    "anon_inode:[nstree]": "a namespace listing: close it",
    "/dmabuf:": "a buffer shared with hardware (dma-buf): let the program release its devices",
    "/secretmem": "secret memory (memfd_secret), which nobody else may read: close it",
}


def reason(file: OpenFile) -> str:
    """Why no resource claims this descriptor."""
    for prefix, text in REASONS.items():
        if file.link.startswith(prefix):
            return f"{file} is {text}"
    kinds = {stat.S_IFSOCK: "a socket of a family that is not supported", stat.S_IFIFO: "a pipe of an unknown kind"}
    kind = kinds.get(stat.S_IFMT(file.stat.st_mode), "of a kind that is not known")
    return f"{file} is {kind}, which cannot be dumped: close it"
