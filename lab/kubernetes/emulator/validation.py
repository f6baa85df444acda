"""
What the real server refuses to store in a node: names, labels and ranges that are none.

Addresses are not among them: a kubelet may write whatever it likes there.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.kubernetes.emulator.status import Refused

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with an object."""

    field: str
    what: str  # Required value, Invalid value, Forbidden
    value: object
    why: str

    @property
    def message(self) -> str:
        shown = f" {json.dumps(self.value, separators=(',', ':'))}:" if self.what == INVALID else ""
        return f"{self.what}:{shown} {self.why}"

    def to_dict(self) -> dict[str, str]:
        return {"reason": _REASONS[self.what], "message": self.message, "field": self.field}


INVALID, REQUIRED, FORBIDDEN = "Invalid value", "Required value", "Forbidden"
_REASONS = {
    INVALID: "FieldValueInvalid",
    REQUIRED: "FieldValueRequired",
    FORBIDDEN: "FieldValueForbidden",
}


def refuse(kind: str, name: str, causes: Sequence[Cause]) -> None:
    """Raise when there is any cause to."""
    if not causes:
        return
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    details |= {"kind": kind, "causes": [cause.to_dict() for cause in causes]}
    raise Refused(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details=details)


def metadata(found: Mapping[str, Any]) -> list[Cause]:
    name = found.get("name") or ""
    causes = []
    if not name:
        why = "name or generateName is required"
        causes.append(Cause("metadata.name", REQUIRED, "", why))
    elif not _NAME.fullmatch(name) or len(name) > 253:
        causes.append(Cause("metadata.name", INVALID, name, _NAME_RULE))
    for key, value in (found.get("labels") or {}).items():
        if not is_label_key(key):
            causes.append(Cause("metadata.labels", INVALID, key, _KEY_RULE))
        if not is_label_value(value):
            causes.append(Cause("metadata.labels", INVALID, value, _VALUE_RULE))
    return causes


def is_label_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (_NAME.fullmatch(prefix) and len(prefix) <= 253):
        return False
    return bool(_KEY.fullmatch(name)) and len(name) <= 63


def is_label_value(value: str) -> bool:
    return bool(_VALUE.fullmatch(value)) and len(value) <= 63


def pod_ranges(ranges: Sequence[str]) -> list[Cause]:
    causes, families = [], []
    for index, text in enumerate(ranges):
        field = f"spec.podCIDRs[{index}]"
        try:
            families.append(ipaddress.ip_network(text, strict=False).version)
            ipaddress.ip_network(text)
        except ValueError as error:
            why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            if "host bits" in str(error):
                why = "must not have bits set beyond the prefix length"
            causes.append(Cause(field, INVALID, text, why))
    if not causes and len(set(families)) < len(families):
        why = "may specify no more than one CIDR for each IP family"
        causes.append(Cause("spec.podCIDRs", INVALID, list(ranges), why))
    return causes
