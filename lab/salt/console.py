"""
Salt's command line tools without the second that each takes to import Salt.

Runs on the master's host as a script of its own. It has Salt imported, and forks for each request;
the child is then the real ``salt``, ``salt-run`` or ``salt-key``, with its own arguments, output
and exit code. Nothing of the extension is imported before the fork, so the next call sees an
edited file.

A request on the socket is a JSON list, the tool and its arguments, with two file handles for its
output and errors; the answer is the exit code.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

_TOOLS = {"salt": "salt_main", "salt-run": "salt_run", "salt-key": "salt_key"}
_PRELOAD = (
    "salt.cli.run",
    "salt.cli.salt",
    "salt.client",
    "salt.loader",
    "salt.minion",
    "salt.output.nested",
    "salt.runner",
    "salt.scripts",
    "salt.state",
    "salt.utils.event",
    "salt.wheel",
)


def serve(path: Path) -> None:
    """Answer requests for ever."""
    for name in _PRELOAD:
        importlib.import_module(name)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = listener.accept()
            with connection:
                if not os.fork():
                    listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _answer(connection)
                    os._exit(0)


def _answer(connection: socket.socket) -> None:
    handles = array.array("i")
    data, extra, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(2 * handles.itemsize))
    handles.frombytes(extra[0][2])
    tool, *argv = json.loads(data)
    child = os.fork()
    if not child:
        connection.close()
        _become(tool, argv, *handles)
    # The caller may have given up by then; the tool goes on, as it would in a shell.
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode(), socket.MSG_NOSIGNAL)


def _become(tool: str, argv: list[str], out: int, err: int) -> None:
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = [tool, *argv]
    code = 0
    try:
        getattr(importlib.import_module("salt.scripts"), _TOOLS[tool])()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:  # noqa: BLE001  (this fork must not go on as a console)
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
