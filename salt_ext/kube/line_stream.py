"""Reads a response body as it arrives and splits it into lines."""

from __future__ import annotations

from collections.abc import Iterator

from salt_ext.kube.http_response import HttpResponse

# etcd limits an object to 1.5 MiB by default; its JSON may be larger, but not ten times.
MAX_LINE_BYTES = 16 * 1024 * 1024


class LineTooLong(Exception):
    """A line is longer than ``MAX_LINE_BYTES``, so the stream cannot be a watch."""


def read_lines(response: HttpResponse) -> Iterator[bytes]:
    """
    Yield each complete, non-empty line of a response.

    Bytes after the last line feed are dropped: the watch resumes from the last complete event, so
    the server sends the rest again. Raises :class:`LineTooLong`.
    """
    rest = b""
    for chunk in read_chunks(response):
        if b"\n" not in chunk:
            rest += chunk
        else:
            *complete, tail = (rest + chunk).split(b"\n")
            rest = tail
            yield from (line for line in complete if line.strip())
        if len(rest) > MAX_LINE_BYTES:
            raise LineTooLong(f"a line of more than {MAX_LINE_BYTES} bytes")


def read_chunks(response: HttpResponse) -> Iterator[bytes]:
    """Yield the body of a response, each chunk as soon as it arrives."""
    if response.chunked:
        yield from response.read_chunked(decode_content=True)
        return
    # A proxy that speaks HTTP/1.0 sends no chunks; read1 returns the bytes that have arrived.
    while chunk := response.read1(65536):
        yield chunk
