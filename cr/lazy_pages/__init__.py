"""Restores whose pages come later, on demand and in the background, by userfaultfd(2).

cr.lazy_pages.daemon is the command `lazy-pages`; cr.restore.laziness is the restore's side of it.
"""
