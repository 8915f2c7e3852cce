"""Where a dump's pages go: chosen, and reached, before anything is frozen."""

from __future__ import annotations

from cr.contract.dumping import DumpContext
from cr.dump.lending import lending


def prepare(context: DumpContext, *, goes_on: bool) -> None:
    """Connect to the page server, or listen for a lazy-pages daemon, where one is asked for.

    Where tracking `goes_on`, the next dump has to know which pages went to the page server.
    """
    options = context.options
    if lending(context) is not None or not options.page_server:
        return
    from cr.page_server.connect import connect
    from cr.page_server.send import RemotePages

    store = RemotePages(connect(options), context.images if goes_on else None)
    context.at_end.append(store.close)
    context.pages = store
