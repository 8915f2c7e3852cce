"""Where a dump's pages go: chosen, and reached, before anything is frozen."""

from __future__ import annotations

from cr.contract.dumping import DumpContext


def prepare(context: DumpContext) -> None:
    """Connect to the page server where one is asked for; CheckpointError where it cannot be reached."""
    options = context.options
    if not options.page_server or options.lazy_pages:
        return
    from cr.page_server.connect import connect
    from cr.page_server.send import RemotePages

    store = RemotePages(connect(options))
    context.at_end.append(store.close)
    context.pages = store
