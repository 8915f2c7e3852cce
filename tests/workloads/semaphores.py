"""Named semaphores and shared memory of multiprocessing: sem_open(3) leaves mappings whose first name was deleted."""

import ctypes
import multiprocessing
import os
import signal
from multiprocessing import shared_memory

from lib import DIRECTORY, workload

libc = ctypes.CDLL(None)
libc.sem_open.restype = ctypes.c_void_p
libc.sem_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint]


def count(lasting):
    value = ctypes.c_int(-1)
    libc.sem_getvalue(ctypes.c_void_p(lasting), ctypes.byref(value))
    return value.value


def serve(semaphore, condition, block, questions, answers):
    """Answer each question under the semaphore."""
    for number in iter(questions.get, None):
        with semaphore:
            block.buf[0] = number
        with condition:
            condition.notify_all()
        answers.put(number * 2)


def ask(number):
    questions.put(number)
    return answers.get(timeout=20), block.buf[0]


with workload() as check:
    context = multiprocessing.get_context("fork")
    block = shared_memory.SharedMemory(create=True, size=4096)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the resource tracker that this starts unblocks it
    semaphore, condition = context.Semaphore(2), context.Condition()
    questions, answers = context.Queue(), context.Queue()
    lasting = libc.sem_open(f"/workload-{os.getpid()}".encode(), os.O_CREAT | os.O_EXCL, 0o600, 5)
    names = []
    for kind in (os.link, os.rename):  # one that has another name beside, one that was only renamed
        (DIRECTORY / kind.__name__).write_text(kind.__name__)
        names.append(os.open(DIRECTORY / kind.__name__, os.O_RDWR))
        kind(DIRECTORY / kind.__name__, DIRECTORY / f"{kind.__name__}-other")
    os.unlink(DIRECTORY / "link")
    child = context.Process(target=serve, args=(semaphore, condition, block, questions, answers))
    child.start()
    check.equal(ask(3), (6, 3), "before")
    semaphore.acquire()
    check.wait()
    check.equal(ask(4), (8, 4), "the other process")
    check.that(semaphore.acquire(timeout=5), "the semaphore has lost a count")
    check.that(not semaphore.acquire(block=False), "the semaphore has gained a count")
    check.equal([os.pread(fd, 100, 0) for fd in names], [b"link", b"rename"], "files with other names")
    check.equal(os.fstat(names[0]).st_ino, os.stat(DIRECTORY / "link-other").st_ino, "the other name")
    again = libc.sem_open(f"/workload-{os.getpid()}".encode(), 0, 0, 0)
    libc.sem_post(ctypes.c_void_p(again))
    check.equal((count(lasting), count(again)), (6, 6), "the semaphore with a name")
    libc.sem_unlink(f"/workload-{os.getpid()}".encode())
    semaphore.release()
    questions.put(None)
    child.join(20)
    block.close()
    block.unlink()
