"""Small images are made in the background, many in one go: making a file takes as long as describing its content."""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue

from cr.kernel import batch
from images.directory import CREATING, MODE, ImageDirectory

_WRITE, _CLOSE, _OPENAT = 1, 3, 257
_AT_ONCE = 64


class ImageSink:
    """See images.directory.Later."""

    def __init__(self, images: ImageDirectory) -> None:
        self._images = images
        self._queue: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._stop = False
        self._error: BaseException | None = None
        self._worker = threading.Thread(target=self._serve, daemon=True)
        self._worker.start()

    def put(self, name: str, content: bytes) -> None:
        """Make this file soon; what is put after `finish` is made at once."""
        if not self._worker.is_alive() and not self._stop:
            self._images.make_whole(name, content)
            return
        self._images.made(name)
        self._queue.put((name, content))

    def finish(self) -> None:
        """Wait until all are made; raises what went wrong."""
        self._queue.put(None)
        self._worker.join()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """No more are made."""
        self._stop = True
        self._queue.put(None)
        self._worker.join()

    def _serve(self) -> None:
        goes_on = True
        while goes_on:
            found = [self._queue.get()]
            while len(found) < _AT_ONCE and found[-1] is not None:
                try:
                    found.append(self._queue.get_nowait())
                except Empty:
                    break
            goes_on = found[-1] is not None
            if self._stop:
                continue
            try:
                self._make([file for file in found if file is not None])
            except BaseException as error:
                self._stop, self._error = True, error

    def _make(self, files: list[tuple[str, bytes]]) -> None:
        done = _make_at_once(self._images.fd, files) if batch.possible() else 0
        for name, content in files[done:]:
            self._images.make_whole(name, content)


def _make_at_once(directory: int, files: list[tuple[str, bytes]]) -> int:
    """How many were made before one that takes more than that (there was such a file, the disk is full, ...)."""
    calls, opened, closed = batch.Batch(), [], []
    for name, content in files:
        fd = calls.call(_OPENAT, directory, name.encode() + b"\0", CREATING, MODE, expect=batch.ANY)
        calls.call_on(fd, _WRITE, content, len(content), expect=len(content))
        opened.append(fd)
        closed.append(calls.call_on(fd, _CLOSE, expect=0))
    made = calls.run()
    done = sum(index < made for index in closed)
    if done < len(files) and opened[done] < made:
        os.close(calls.result(opened[done]))
    return done
