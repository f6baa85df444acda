"""
Who called a runner function, as far as Salt and the kernel know it.

Salt names the user in ``__user__``: the one that external authentication accepted, ``Reactor``, or
the user of the process. The latter is ``root``, or the master's own user after Salt has dropped its
privileges. Then the kernel knows who logged in (``/proc/self/loginuid``, which no process can
change without ``CAP_AUDIT_CONTROL``); else ``sudo`` says it, which only root can forge.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import salt.config

from salt_ext.core.display import quote

_LOGIN = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1
"""The login of a process that descends from none: a service, most containers."""
_REACTOR = "Reactor"
"""``ReactWrap.event_user`` of Salt 3006 to 3008."""
_UNKNOWN = "UNKNOWN"
"""What ``SyncClientMixin.low`` has in place of a user that it was not given."""
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """A name to show, and whether it is a person's, as far as is known."""

    name: str
    person: bool = True


def caller(opts: Mapping[str, object], user: str | None) -> Caller:
    """Return who called; ``user`` is the global ``__user__`` that Salt gives to a runner."""
    if user == _REACTOR:
        return Caller("reactor", person=False)
    if not _in_master():
        return Caller(_local(opts))
    # The environment and the login of the master are those of whoever has started it.
    minion = _minion(opts)
    if minion is not None:
        return Caller(f"minion {_shown(minion)} (peer_run)", person=False)
    if user is None or user == _UNKNOWN:
        return Caller("unknown, inside the master", person=False)
    return Caller(f"{_shown(user)} (via the master)")


def _local(opts: Mapping[str, object]) -> str:
    """Return who runs this process."""
    uid = os.geteuid()
    user = _user_name(uid)
    login = _login_uid()
    if login is not None:
        return user if login == uid else f"{_user_name(login)} as {user}"
    by_sudo = _sudo_user() if uid in (0, _master_uid(opts)) else None
    return f"{user} (no login)" if by_sudo is None else f"{by_sudo} as {user} (sudo)"


def _login_uid() -> int | None:
    try:
        uid = int(_LOGIN.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN else uid


def _sudo_user() -> str | None:
    """Return whom sudo names in the environment; None unless its variables agree."""
    try:
        uid = int(os.environ.get("SUDO_UID", ""))
        named = pwd.getpwnam(os.environ.get("SUDO_USER", "")).pw_uid
    except (KeyError, ValueError):
        return None
    return _user_name(uid) if uid and uid == named else None


def _master_uid(opts: Mapping[str, object]) -> int | None:
    try:
        return pwd.getpwnam(str(opts.get("user", "root"))).pw_uid
    except KeyError:
        return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _in_master() -> bool:
    """Whether this is a process of the master, or of the API: Salt forks them all."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    return program == "salt-master" or (program == "salt" and sys.argv[1:2] == ["master"])


def _minion(opts: Mapping[str, object]) -> str | None:
    """Return the minion that called through ``peer_run``: its id is in place of the master's."""
    if "fun" not in opts:
        # External authentication; `peer_run` puts the function into the options.
        return None
    found = str(opts.get("id"))
    own = salt.config.master_config(str(opts.get("conf_file")))["id"]
    return None if found == own else found


def _shown(name: str) -> str:
    """Return a name that others may have chosen, on one line."""
    return name if name.isprintable() and len(name) <= _MAX_NAME else quote(name, _MAX_NAME)
