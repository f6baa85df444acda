"""The part of a urllib3 response that is used; urllib3 1.26 and 2 have no common typed base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class HttpResponse(Protocol):
    """A response whose body has not been read."""

    chunked: bool
    status: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; their names are case-insensitive."""

    def read(self, amt: int | None = None) -> bytes:
        """Return at most ``amt`` bytes of the body."""

    def read1(self, amt: int) -> bytes:
        """Return the bytes that have arrived, at most ``amt``; empty at the end."""

    def read_chunked(self, *, decode_content: bool) -> Iterator[bytes]:
        """Yield each chunk of a chunked body."""

    def release_conn(self) -> None:
        """Return the connection to the pool."""

    def close(self) -> None:
        """Close the response and its connection, unless that was released."""
