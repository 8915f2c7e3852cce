"""Restores whose pages come later, on demand and in the background, by userfaultfd(2).

run(options)      the command `lazy-pages`: the daemon that brings the pages
serve(options)    the same, in the calling process; returns when all pages are there
"""

from cr.lazy_pages.daemon import run, serve

__all__ = ["run", "serve"]
