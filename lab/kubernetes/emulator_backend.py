"""
The emulator as a back end, with its control interface.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from lab.kubernetes import endpoint
from lab.kubernetes.backend import Backend
from lab.kubernetes.emulator.control import Control
from lab.kubernetes.unix_socket import socket_path

_ROOT = Path(__file__).parents[2]


class EmulatorBackend(Backend):
    """The emulator's process."""

    name: ClassVar[str] = "emulator"
    _server = "emulator"

    @property
    def control(self) -> Control:
        return Control(self._socket)

    def kill(self) -> None:
        self.control.write_state()  # the real one has it on disk at any time
        super().kill()

    def wipe(self) -> None:
        self.control.wipe()

    def save(self, name: str = "saved") -> None:
        self.control.save(name)

    def restore(self, name: str = "saved") -> None:
        self.control.restore(name)

    def compact(self) -> None:
        self.control.compact()

    def forbid(self, user: str) -> None:
        self.control.forbid(user)

    def permit(self, user: str) -> None:
        self.control.permit(user)

    def rotate(self, user: str) -> None:
        files = self.endpoint.tokens
        endpoint.new_token(files[user])
        endpoint.write_table(self._tokens, files)
        self.control.reload_tokens()

    @property
    def _socket(self) -> Path:
        return socket_path(self.folder, "control.sock")

    def _start(self) -> None:
        argv = [sys.executable, "-m", "lab.kubernetes.emulator"]
        argv += ["--folder", str(self.folder.absolute()), "--control", str(self._socket)]
        argv += ["--address", self.address, "--port", str(self.port)]
        self._run(self._server, argv, env={"PYTHONPATH": str(_ROOT)})
