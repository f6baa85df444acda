"""
Who asks, and what they may: client certificates, bearer tokens, and rights as RBAC would give them.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Mapping
from pathlib import Path

from lab.kubernetes.emulator.request import Request, Target
from lab.kubernetes.emulator.status import forbidden, forbidden_path, unauthorized

ANONYMOUS = "system:anonymous"
_PUBLIC = ("/version", "/readyz", "/livez", "/healthz")
_DISCOVERY = ("/api", "/apis", "/openapi")
_REVIEW = "selfsubjectaccessreviews"


class Access:
    """The token table and the rights; both can be changed while clients are connected."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._readers = {"reader"}
        self._revoked: set[str] = set()
        self.reload()

    def reload(self) -> None:
        with self._table.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        with self._lock:
            self._users = {token: user for token, user, *_ in rows}
            self._admins = {
                user for _, user, _, groups in rows if "system:masters" in groups.split(",")
            }

    def revoke(self, user: str) -> None:
        """The user's token is no longer known (401)."""
        with self._lock:
            self._revoked.add(user)

    def reinstate(self, user: str) -> None:
        with self._lock:
            self._revoked.discard(user)

    def forbid(self, user: str) -> None:
        with self._lock:
            self._readers.discard(user)

    def permit(self, user: str) -> None:
        with self._lock:
            self._readers.add(user)

    def user(self, headers: Mapping[str, str], shown: str = "") -> str:
        """
        The one who asks: the name in the client certificate that was shown, or else the token's; no
        credential at all is anonymous, a wrong one is a 401.
        """
        if shown:
            return shown
        value = headers.get("authorization", "")
        scheme, _, token = value.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return ANONYMOUS
        with self._lock:
            user = self._users.get(token.strip())
            if user is None or user in self._revoked:
                raise unauthorized()
            return user

    def check(self, user: str, request: Request) -> None:
        target = request.target
        if target is None:
            self._check_path(user, request)
        elif target.resource == _REVIEW and user != ANONYMOUS:
            return
        elif not self.allowed(user, request.verb, target):
            raise forbidden(user, request.verb, target.full, target.group, target.name)

    def allowed(self, user: str, verb: str, target: Target) -> bool:
        with self._lock:
            if user in self._admins:
                return True
            if user not in self._readers or target.group:
                return False
            if target.resource == "nodes":
                return verb in ("get", "list", "watch") and not target.part
            return (verb, target.full, target.name) == ("get", "namespaces", "kube-system")

    def reason(self, user: str) -> dict[str, str]:
        """Why a user is allowed; a member of system:masters is not even asked about."""
        if user in self._admins:
            return {}
        role = f"lab:{user}"
        binding = f'ClusterRoleBinding "{role}" of ClusterRole "{role}" to User "{user}"'
        return {"reason": f"RBAC: allowed by {binding}"}

    def _check_path(self, user: str, request: Request) -> None:
        prefixes = _PUBLIC if user == ANONYMOUS else _PUBLIC + _DISCOVERY
        public = any(request.path == one or request.path.startswith(f"{one}/") for one in prefixes)
        if not (user in self._admins or (public and request.verb == "get")):
            raise forbidden_path(user, request.verb, request.path)
