"""--lsm-mount-context: another SELinux context for the filesystems that were mounted with one (mount(8))."""

from __future__ import annotations

from cr.kernel.patterns import pattern

_CONTEXT = pattern(r'(^|,)context=("[^"]*"|[^,]*)')


def relabel(options: str, context: str) -> str:
    """Mount options with the value of `context=` replaced; options without it stay as they are."""
    return _CONTEXT.sub(lambda match: f'{match[1]}context="{context}"', options) if context else options
