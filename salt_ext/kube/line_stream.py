"""Reads an answer as it arrives, in pieces, and cuts a stream of them into lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# An object in etcd has at most 1.5 MiB; its JSON may be larger, a line of 16 MiB is no object.
LONGEST = 16 * 1024 * 1024


class LineTooLong(Exception):
    """What comes is no watch."""


def read_lines(response: Any) -> Iterator[bytes]:
    """
    Yield each complete, non-empty line of a urllib3 response.

    What follows the last line feed is dropped: the watch resumes from the last complete event, so
    the server sends the rest again. :class:`LineTooLong` when a line is longer than ``LONGEST``.
    """
    rest = b""
    for piece in pieces(response):
        if b"\n" not in piece:
            rest += piece
        else:
            *complete, tail = (rest + piece).split(b"\n")
            rest = tail
            yield from (line for line in complete if line.strip())
        if len(rest) > LONGEST:
            raise LineTooLong(f"a line of more than {LONGEST} bytes")


def pieces(response: Any) -> Iterator[bytes]:
    """Yield the body of a urllib3 response, a piece as soon as it is there."""
    if response.chunked:
        yield from response.read_chunked(decode_content=True)
        return
    # A proxy that speaks HTTP/1.0 sends no chunks; read1 returns what is there.
    while piece := response.read1(65536):
        yield piece
