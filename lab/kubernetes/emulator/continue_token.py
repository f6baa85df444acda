"""
The ``continue`` token of a LIST in pages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from lab.kubernetes.emulator.status import Refused, bad_request, gone

ANY_VERSION = -1  # go on with the present, consistent or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """
    What is inside a ``continue``: the version of the first page, where to go on, and which page
    that is.
    """

    version: int
    start: str
    page: int

    def encode(self) -> str:
        content = {
            "v": "meta.k8s.io/v1",
            "rv": self.version,
            "start": self.start,
            "page": self.page,
        }
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Token:
        try:
            content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(
                version=int(content["rv"]), start=content["start"], page=int(content.get("page", 2))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(
                f"invalid continue token: continue key is not valid: {error}"
            ) from error


def page_number(query: Mapping[str, str]) -> int:
    """1 for the first page; a fault can be scripted for a later one."""
    return Token.decode(query["continue"]).page if query.get("continue") else 1


def expired(token: Token) -> Refused:
    message = (
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter, or use the continue token in "
        "this response to retrieve the remainder of the results. Continuing with the provided "
        "token results in an inconsistent list - objects that were created, modified, or deleted "
        "between the time the first chunk was returned and now may show up in the list."
    )
    again = Token(version=ANY_VERSION, start=token.start, page=token.page).encode()
    return gone(message, **{"continue": again})
