"""The ``apply:`` block: what is published to which minions, and the limits for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from salt_ext.core.config import places
from salt_ext.core.config.options import (
    HIDDEN,
    Options,
    WrongLevel,
    flag,
    list_of,
    one_of,
    seconds,
    text,
    whole,
)
from salt_ext.core.display import quote
from salt_ext.core.errors import ConfigError

DEFAULT_CLASS = ""
"""Name of the class of all minions that match no other class."""

ANY_GRAINS = "G@id:*"
"""Compound target of the minions with cached grains: each of them has an id grain."""

_NEEDS_GRAINS = re.compile(r"[GPIJ].?@|[NS]@")

_NO_KWARG: Mapping[str, object] = {}

UNQUEUED = frozenset(
    f"state.{name}"
    for name in (
        *("apply", "highstate", "sls", "sls_id", "top"),
        *("high", "low", "single", "template", "template_str"),
    )
)
"""The functions that run states and accept ``queue``, in every supported Salt."""

_OVERRIDE = re.compile(r"pillar=")

_KEYWORD = re.compile(r"(\w[\w.-]*)=(?!=)(.*)")

MODULE = "k8s_firewall"
"""The execution module that minions get from the master's file server."""


class Mode(str, Enum):
    """Whether changes are published, of a cluster or to a class of minions."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """All is computed and reported; nothing is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """The function that the minions of one class run, with its arguments."""

    name: str = DEFAULT_CLASS
    target: str | None = None
    """Compound target; None for the default class."""
    function: str = "state.apply"
    arg: tuple[object, ...] = ()
    kwarg: Mapping[str, object] = field(default_factory=dict)
    mode: Mode = Mode.ENFORCE
    sync: bool = False
    """Whether the minions sync their modules before the first run."""
    implicit: bool = False
    """A highstate by default, because the configuration names no function; perhaps a mistake."""

    @property
    def needs_grains(self) -> bool:
        """Whether the target matches grains, pillar or networks, which a minion must report."""
        # A nodegroup may contain such a match.
        return any(_NEEDS_GRAINS.match(part.lstrip("(")) for part in (self.target or "").split())

    @property
    def uses_module(self) -> bool:
        """Whether it needs the module ``k8s_firewall`` on the minion."""
        return _uses_module(self.function, self.arg)

    @property
    def compiles(self) -> bool:
        """
        Whether each run compiles the minion's pillar on the master, which records its references.

        A compile with a pillar override is not recorded.
        """
        overrides = [
            item for item in self.arg if isinstance(item, Mapping) or _OVERRIDE.match(str(item))
        ]
        return self.function in UNQUEUED and "pillar" not in self.kwarg and not overrides

    @property
    def publish_kwargs(self) -> Mapping[str, object]:
        """
        The keyword arguments as they are published.

        ``queue`` is always set: without it, the minion's own option ``state_queue`` would decide.
        """
        return {**self.kwarg, "queue": False} if self.function in UNQUEUED else self.kwarg

    def __str__(self) -> str:
        # Without possible secrets: a pillar, a password.
        parts = [str(item) if isinstance(item, (str, int, float)) else "..." for item in self.arg]
        for key, value in self.kwarg.items():
            plain = isinstance(value, (int, float)) or key in ("saltenv", "pillarenv")
            parts.append(f"{key}={value}" if plain else f"{key}=...")
        return " ".join([self.function, *parts])


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig:
    """The classes of minions, and the limits for all of them."""

    default: Action = field(default_factory=partial(Action, implicit=True))
    classes: tuple[Action, ...] = ()
    """In order: a minion belongs to the first class that matches it."""
    batch: int = 50
    """Largest number of minions of one class with a job in flight."""
    timeout: float = 300.0
    """Seconds without a return after which a job counts as failed."""
    canary: int = 0
    """Number of minions that must succeed before the rest of their class."""
    abort_percent: int = 50
    """A class is stopped when more than this percentage of its healthy minions fail."""
    max_per_minute: int = 1000
    """Largest number of publishes within a minute, including retries."""
    min_interval: float = 2.5
    """Seconds between two runs on one minion after its burst."""
    burst: int = 3
    """Number of runs on one minion without that interval."""
    max_inline_addresses: int = 1000
    """Largest number of addresses within a published ``k8s_firewall.sync``; 0 for none."""
    reapply_after: float = 86_400.0
    """Seconds after which a proof expires and the firewall is applied again; 0 for never."""

    def find_class(self, name: str) -> Action | None:
        """Return the class of that name, None when it is not configured (any more)."""
        return next(
            (action for action in (*self.classes, self.default) if action.name == name), None
        )

    def next_run(self, last: float, burst_restored_at: float) -> float:
        """
        Return when a minion may run again after its last run; seconds since the epoch.

        ``burst_restored_at`` is when its whole burst is available: ``min_interval`` for each run.
        """
        return min(
            burst_restored_at - (self.burst - 1) * self.min_interval, last + self.min_interval
        )

    def class_of(self, minion: str, matches: Mapping[str, Set[str]]) -> Action:
        """Return the class of a minion; ``matches`` has the minions of each target."""
        for action in self.classes:
            if minion in matches[action.target or ""]:
                return action
        return self.default

    def knows_class(
        self, minion: str, matches: Mapping[str, Set[str]], with_grains: Set[str]
    ) -> bool:
        """Whether the class of a minion is certain; ``with_grains`` are minions with grains."""
        for action in self.classes:
            if action.needs_grains:
                return minion in with_grains
            if minion in matches[action.target or ""]:
                return True
        return True


def read_mode(given: Options, default: Mode) -> Mode:
    """Read ``mode``; an invalid mode is read as ``observe``, which publishes nothing."""
    mode = given.take("mode", one_of(*(mode.value for mode in Mode)), None)
    if mode is None:
        return Mode.OBSERVE if given.has("mode") or given.has_null("mode") else default
    return Mode(mode)


def is_states(function: str) -> bool:
    """Whether a function returns the result of each state."""
    return function.partition(".")[0] == "state"


def _uses_module(function: str, arg: tuple[object, ...]) -> bool:
    called: list[object] = [function]
    if is_states(function):
        # Names of SLS files: one string with commas, or a list.
        for item in arg:
            called += item if isinstance(item, list) else str(item).split(",")
    return any(str(name).strip().partition(".")[0] == MODULE for name in called)


def read(given: Options) -> ApplyConfig:
    """Read the ``apply:`` block; mistakes go to its ``problems``."""
    defaults = ApplyConfig()
    default = _read_action(given, DEFAULT_CLASS, None, defaults.default)
    entries = given.below("classes")
    classes = []
    for name in entries.keys:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            allowed = "as a class's name letters, digits, . _ and -"
            entries.refuse_name(name, allowed)
            continue
        entry = entries.below(name)
        classes.append(_read_action(entry, name, entry.take("target", text), default))
        entry.finish()
    apply = ApplyConfig(
        default=default,
        classes=tuple(classes),
        batch=given.take("batch", whole(1, 10_000), defaults.batch),
        timeout=given.take("timeout", seconds(5, 86_400), defaults.timeout),
        canary=given.take("canary", whole(0, 1000), defaults.canary),
        abort_percent=given.take("abort_percent", whole(0, 100), defaults.abort_percent),
        max_per_minute=given.take(
            "max_per_minute", whole(1, 100_000), defaults.max_per_minute, was="per_minute"
        ),
        min_interval=given.take(
            "min_interval", seconds(0, 3600), defaults.min_interval, was="pace"
        ),
        burst=given.take("burst", whole(1, 100), defaults.burst),
        max_inline_addresses=given.take(
            "max_inline_addresses", whole(0, 100_000), defaults.max_inline_addresses, was="deliver"
        ),
        reapply_after=given.take(
            "reapply_after", seconds(0, 10_000_000), defaults.reapply_after, was="renew"
        ),
    )
    given.finish()
    return apply


def _read_action(given: Options, name: str, target: str | None, default: Action) -> Action:
    no_states: tuple[str, ...] = ()
    no_arg: tuple[object, ...] = ()
    states = given.take("states", list_of(text), no_states)
    highstate = given.take("highstate", flag, False)
    function = given.take("function", _function, None)
    arg = given.take("arg", _positional, no_arg, hide=True)
    kwarg = given.take("kwarg", _keywords, _NO_KWARG, hide=True)
    mode = read_mode(given, default.mode)
    named = [key for key in ("states", "highstate", "function") if given.has(key)]
    if len(named) > 1:
        allowed = "only one of states, highstate, function"
        given.problems.append(ConfigError(given.path, named, allowed))
    if arg and not function:
        given.problems.append(ConfigError(f"{given.path}:arg", HIDDEN, "only with function"))
    if states:
        function, arg = "state.apply", (",".join(states),)
    elif not function and (highstate or target is None):
        function = "state.apply"
    elif not function:
        function, arg, kwarg = default.function, default.arg, kwarg or default.kwarg
    return Action(
        name=name,
        target=target,
        function=function,
        arg=arg,
        kwarg=kwarg,
        mode=mode,
        implicit=target is None and not any(map(given.has, ("states", "highstate", "function"))),
        sync=given.take("sync", flag, _uses_module(function, arg)),
    )


def _function(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value):
        return value
    raise ValueError("an execution function such as k8s_firewall.sync")


def _positional(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of arguments")
    for item in value:
        # Salt turns `key=value` strings, and mappings with `__kwarg__`, into keyword arguments.
        if isinstance(item, str) and (keyword := _KEYWORD.match(item)):
            _check_keywords({keyword[1]: keyword[2].strip().lower() not in ("", "false")})
        elif isinstance(item, Mapping) and "__kwarg__" in item:
            _check_keywords(item)
    return tuple(value)


def _keywords(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("a mapping of keyword arguments")
    _check_keywords(value)
    return dict(value)


def _check_keywords(value: Mapping[str, object]) -> None:
    """Refuse keyword arguments that break retries, proof or Salt's own options."""
    if value.get("queue"):
        # Queued jobs pile up, cannot be found and outlive restarts.
        raise ValueError("keyword arguments without queue: busy minions are retried anyway")
    if value.get("test"):
        raise ValueError("keyword arguments without test: nothing would be applied")
    for key in value:
        if key in places.DISTINCTIVE:
            raise WrongLevel(f"keyword arguments without {key}{places.hint(key)}", key, value[key])
    if any(key.startswith("__") for key in value):
        raise ValueError(f"keyword arguments without {quote('__')} as prefix")
