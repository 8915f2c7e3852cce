"""Containers whose memory goes over the network, or comes later: checkpoint --page-server, restore --lazy-pages."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cr import page_server
from cr.lazy_pages import daemon
from cr.options import Options
from cr.page_server.process import Started, start_server
from tests.runtime.bundle import Bundle
from tests.runtime.freezing import checkpoint, count, counting, goes_on, images, restore, start

pytestmark = pytest.mark.root


def _options(bundle: Bundle, **more: Any) -> Options:
    Path(images(bundle)).mkdir(exist_ok=True)
    return Options(images_dir=images(bundle), address="127.0.0.1", **more)


def _ended_well(server: Started) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 0


def test_pages_go_to_a_page_server_and_come_back_lazily(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    servers: list[Started] = []

    def one_more() -> list[str]:
        """A server serves one client, a checkpoint that is refused too."""
        servers.append(page_server.start(_options(bundle)))
        return ["--page-server", f"127.0.0.1:{servers[-1].port}"]

    checkpoint(bundle, prepare=one_more)
    *refused, used = servers
    for server in refused:
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)
    assert _ended_well(used)
    assert any(Path(images(bundle)).glob("pages-65*.img"))
    before = count(bundle)
    bringer = start_server(_options(bundle), daemon.serve)
    restore(bundle, "--lazy-pages")
    assert count(bundle) >= before
    goes_on(bundle)
    assert _ended_well(bringer)


def test_there_is_no_daemon(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    checkpoint(bundle)
    failed = bundle.verb("restore", "-d", "--image-path", images(bundle), "--lazy-pages", bundle.id)
    assert failed.returncode != 0
    assert "there is no lazy-pages daemon at" in failed.stderr
    restore(bundle)
    goes_on(bundle)
