"""
The emulator's folder: certificates, tokens, kubeconfig files, state and control socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.kubernetes import endpoint
from lab.kubernetes.endpoint import Endpoint
from lab.kubernetes.unix_socket import socket_path

# The user "nobody" has no rights; a watcher that is tested needs no file for it.
_KUBECONFIG_USERS = ("admin", "reader")


@dataclass(frozen=True, slots=True)
class Folder:
    """What is where; the files stay as they are when the emulator starts on them again."""

    path: Path

    @property
    def certs(self) -> Path:
        return self.path / "certs"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens"

    @property
    def ca_file(self) -> Path:
        return self.certs / "ca.crt"

    @property
    def control_socket(self) -> Path:
        return socket_path(self.path, "control.sock")

    def kubeconfig(self, user: str) -> Path:
        return self.path / f"{user}.kubeconfig"

    def token_file(self, user: str) -> Path:
        return self.tokens / f"{user}.token"

    def provide(self, address: str, *, tls: bool, token: str = "") -> None:
        """Create what is missing; ``token`` becomes the token of the user admin."""
        self.path.mkdir(parents=True, exist_ok=True)
        if tls and not self.ca_file.exists():
            # Imported when needed: it takes longer than the rest of the start.
            from lab.kubernetes import certificates

            certificates.provide(self.certs, address)
        if token or not (self.tokens / "tokens.csv").exists():
            self.tokens.mkdir(exist_ok=True)
            if token:
                endpoint.write_token(self.token_file("admin"), token)
            endpoint.provide_tokens(self.tokens)

    def write_kubeconfigs(self, url: str) -> None:
        users = {user: self.token_file(user) for user in endpoint.USERS}
        reachable = Endpoint(url=url, ca_file=self.ca_file, tokens=users)
        for user in _KUBECONFIG_USERS:
            path = self.kubeconfig(user)
            path.touch(mode=0o600)
            path.write_text(endpoint.kubeconfig(reachable, user))
