"""
Status bodies, worded as kube-apiserver words them.
"""

from __future__ import annotations

import json
from typing import Any


class Refused(Exception):
    """A request that is answered with a Status object of kind Failure."""

    def __init__(self, code: int, reason: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] | None = more.pop("details", None)
        self.metadata: dict[str, Any] = more.pop("metadata", {})
        self.headers: dict[str, str] = more.pop("headers", {})

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if not self.reason:
            del body["reason"]
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def unauthorized() -> Refused:
    return Refused(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, resource: str, group: str, name: str) -> Refused:
    plain = resource.partition("/")[0]
    kind = f"{plain}.{group}" if group else plain
    subject = f'{kind} "{name}" is forbidden' if name else f"{kind} is forbidden"
    scope = (
        f' in the namespace "{name}"' if plain == "namespaces" and name else " at the cluster scope"
    )
    what = f'resource "{resource}" in API group "{group}"'
    message = f'{subject}: User "{user}" cannot {verb} {what}{scope}'
    details = {"name": name, "group": group, "kind": plain}
    return Refused(403, "Forbidden", message, details={k: v for k, v in details.items() if v})


def forbidden_path(user: str, verb: str, path: str) -> Refused:
    return Refused(
        403, "Forbidden", f'forbidden: User "{user}" cannot {verb} path "{path}"', details={}
    )


def not_found(resource: str, name: str) -> Refused:
    message = f'{resource} "{name}" not found'
    return Refused(404, "NotFound", message, details={"name": name, "kind": resource})


def no_such_resource() -> Refused:
    message = "the server could not find the requested resource"
    return Refused(404, "NotFound", message, details={})


def exists(resource: str, name: str) -> Refused:
    message = f'{resource} "{name}" already exists'
    return Refused(409, "AlreadyExists", message, details={"name": name, "kind": resource})


def conflict(resource: str, name: str, why: str) -> Refused:
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return Refused(409, "Conflict", message, details={"name": name, "kind": resource})


def bad_request(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def method_not_allowed() -> Refused:
    message = "the server does not allow this method on the requested resource"
    return Refused(405, "MethodNotAllowed", message, details={})


def bad_options(problem: str, what: str = "Forbidden", reason: str = "Forbidden") -> Refused:
    """LIST and WATCH parameters that do not go together."""
    message = f"{what}: {problem}"
    cause = {"reason": f"FieldValue{reason}", "message": message, "field": "resourceVersionMatch"}
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause]}
    text = f'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: {message}'
    return Refused(422, "Invalid", text, details=details)


def gone(message: str, **metadata: str) -> Refused:
    return Refused(410, "Expired", message, metadata=metadata)


def encode(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"
