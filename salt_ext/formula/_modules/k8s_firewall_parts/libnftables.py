"""
Changes of elements, made by the library that the program ``nft`` is made of.

To start the program takes 13 ms and more, the change itself a quarter of one. Only lines that
change elements of a set go this way: a fault of the library would end this process, and they touch
least of it. What it refuses, the program is asked again: its message is the one that counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools

_LIBRARY = "libnftables.so.1"
_ELEMENTS = ("add element ", "delete element ", "flush set ")
_SMALL = 1 << 20


def suits(text: str) -> bool:
    """Whether a text only changes elements."""
    return len(text) < _SMALL and all(line.startswith(_ELEMENTS) for line in text.splitlines())


def apply(text: str) -> bool:
    """Make one transaction of a text; False where nothing changed, and nft has to say why."""
    library = _load()
    if library is None:
        return False
    context = library.nft_ctx_new(0)
    if not context:
        return False
    try:
        # What it prints is kept, and not wanted.
        if library.nft_ctx_buffer_output(context) or library.nft_ctx_buffer_error(context):
            return False
        return bool(library.nft_run_cmd_from_buffer(context, text.encode()) == 0)
    finally:
        library.nft_ctx_free(context)


@functools.cache
def _load() -> ctypes.CDLL | None:
    """Return the library of this host; None without it."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for function in (
            library.nft_ctx_buffer_output,
            library.nft_ctx_buffer_error,
            library.nft_ctx_free,
        ):
            function.argtypes = [ctypes.c_void_p]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        return library
    return None
