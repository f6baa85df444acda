"""
The address, certificate and tokens of a lab's API, and the files that hold them.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# user -> group; what each may do is in the back ends
USERS = {"admin": "system:masters", "reader": "lab:readers", "nobody": "lab:nobodies"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A running API server and its users."""

    url: str  # https://ADDRESS:PORT
    ca_file: Path
    # "admin" (everything), "reader" (get, list and watch nodes, get the namespace kube-system),
    # "nobody" (no rights)
    tokens: Mapping[str, Path]

    def token(self, user: str) -> str:
        return self.tokens[user].read_text().strip()


def kubeconfig(endpoint: Endpoint, user: str, *, name: str = "lab") -> str:
    """The text of a kubeconfig file for one user, complete in itself (JSON, which is YAML too)."""
    cluster = {"server": endpoint.url}
    if endpoint.url.startswith("https:"):
        authority = base64.b64encode(endpoint.ca_file.read_bytes()).decode()
        cluster["certificate-authority-data"] = authority
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": endpoint.token(user)}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
    }
    return json.dumps(config, indent=2) + "\n"


def provide_tokens(folder: Path) -> dict[str, Path]:
    """
    A token file per user, and ``tokens.csv`` in the format of ``--token-auth-file`` with all of
    them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {user: folder / f"{user}.token" for user in USERS}
    for file in files.values():
        if not file.exists():
            new_token(file)
    write_table(folder, files)
    return files


def new_token(file: Path) -> None:
    """
    A token is replaced as a whole, as kubelet does it: a reader sees the old one or the new one.
    """
    write_token(file, secrets.token_urlsafe(24))


def write_token(file: Path, token: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(f"{token}\n")
    fresh.rename(file)


def write_table(folder: Path, files: Mapping[str, Path]) -> None:
    table = folder / "tokens.csv"
    table.touch(mode=0o600)
    table.write_text(
        "".join(
            f'{file.read_text().strip()},{user},{user},"{USERS[user]}"\n'
            for user, file in files.items()
        )
    )
