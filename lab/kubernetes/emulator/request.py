"""
A request and an answer, without the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.kubernetes.emulator.status import Refused, encode

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    What a path names: a resource of an API group, maybe one object of it, maybe a part of that.
    """

    group: str
    resource: str
    name: str
    part: str

    @property
    def full(self) -> str:
        return f"{self.resource}/{self.part}" if self.part else self.resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> Target | None:
        """None for a path outside the resources: /readyz, /version, /api."""
        parts = [part for part in self.path.split("/") if part]
        if parts[:2] == ["api", "v1"]:
            group, rest = "", parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            group, rest = parts[1], parts[3:]
        else:
            return None
        if not rest or len(rest) > 3:
            return None
        rest += [""] * (3 - len(rest))
        return Target(group=group, resource=rest[0], name=rest[1], part=rest[2])

    @property
    def verb(self) -> str:
        """As RBAC has it: get, list, watch, create, update, patch, delete, deletecollection."""
        if self.target is None:
            return self.method.lower()
        if self.method in ("GET", "HEAD"):
            if self.query.get("watch") in ("true", "1", "True"):
                return "watch"
            return "get" if self.target.name else "list"
        if self.method == "DELETE" and not self.target.name:
            return "deletecollection"
        return _VERBS.get(self.method, self.method.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status=status, body=encode(body))


def refusal(refused: Refused) -> Answer:
    headers = {"Content-Type": "application/json", **refused.headers}
    return Answer(status=refused.code, body=encode(refused.status()), headers=headers)
