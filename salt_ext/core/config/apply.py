"""What is published to which minions, and how carefully: the ``apply:`` block."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from salt_ext.core.config.options import (
    HIDDEN,
    Options,
    flag,
    list_of,
    one_of,
    seconds,
    text,
    whole,
)
from salt_ext.core.errors import ConfigError, shown

DEFAULT_CLASS = ""
"""Name of the class of the minions that no other class takes."""

ANY_GRAINS = "G@id:*"
"""Compound target of the minions that any grains are known of: all of those have an id."""

_ASKS = re.compile(r"[GPIJ].?@|[NS]@")

_NO_KWARG: Mapping[str, Any] = {}

UNQUEUED = frozenset(
    f"state.{name}"
    for name in (
        *("apply", "highstate", "sls", "sls_id", "top"),
        *("high", "low", "single", "template", "template_str"),
    )
)
"""The functions that run states and take ``queue``, in every Salt that is supported."""

_OVERRIDE = re.compile(r"pillar=")

_KEYWORD = re.compile(r"(\w[\w.-]*)=(?!=)(.*)")

MODULE = "k8s_firewall"
"""The execution module that reaches minions from the master's own files."""


class Mode(str, Enum):
    """How far it goes for a cluster, or for a class of minions."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """Everything but publishing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the minions of one class are told to do."""

    name: str = DEFAULT_CLASS
    target: str | None = None
    """Compound target; None for the minions that no class takes."""
    function: str = "state.apply"
    arg: tuple[Any, ...] = ()
    kwarg: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode = Mode.ENFORCE
    sync: bool = False
    """The minions' own modules are brought up to date before the first run."""
    implicit: bool = False
    """A highstate, because nothing says what to publish: perhaps nobody meant that."""

    @property
    def needs_grains(self) -> bool:
        """Whether the target asks for grains, pillar or networks: what a minion has told."""
        # A nodegroup may.
        return any(_ASKS.match(word.lstrip("(")) for word in (self.target or "").split())

    @property
    def uses_module(self) -> bool:
        """Whether it cannot work on a minion without the module from the master's own files."""
        return _uses_module(self.function, self.arg)

    @property
    def compiles(self) -> bool:
        """
        Whether each run compiles the minion's pillar on the master, as it is recorded.

        A compile with an override is not recorded.
        """
        words = [one for one in self.arg if isinstance(one, Mapping) or _OVERRIDE.match(str(one))]
        return self.function in UNQUEUED and "pillar" not in self.kwarg and not words

    @property
    def publish_kwargs(self) -> Mapping[str, Any]:
        """
        The keyword arguments as a minion gets them.

        Without a word about ``queue``, the minion's own option ``state_queue`` would count.
        """
        return {**self.kwarg, "queue": False} if self.function in UNQUEUED else self.kwarg

    def __str__(self) -> str:
        # Not what may be a secret: a pillar, or a password.
        words = [str(one) if isinstance(one, (str, int, float)) else "..." for one in self.arg]
        for key, value in self.kwarg.items():
            plain = isinstance(value, (int, float)) or key in ("saltenv", "pillarenv")
            words.append(f"{key}={value}" if plain else f"{key}=...")
        return " ".join([self.function, *words])


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig:
    """The classes of minions, and what holds for all of them."""

    default: Action = field(default_factory=partial(Action, implicit=True))
    classes: tuple[Action, ...] = ()
    """In order: the first that takes a minion counts."""
    batch: int = 50
    """Minions of one class that are waited for at a time."""
    timeout: float = 300.0
    """Seconds after a publish without a return before it is tried again."""
    canary: int = 0
    """Minions that must succeed before the others of their class are published to."""
    abort_percent: int = 50
    """More failures among those that were well before stop a class."""
    max_per_minute: int = 1000
    """Minions that are published to within a minute, retries included."""
    min_interval: float = 2.5
    """Seconds between two runs on one minion that has had its burst."""
    burst: int = 3
    """Runs on one minion that need not be so far apart."""
    max_inline_addresses: int = 1000
    """Addresses that a ``k8s_firewall.sync`` carries along at most; 0 for none."""
    reapply_after: float = 86_400.0
    """Seconds after which what was proven is applied once more; 0 for never."""

    def named(self, name: str) -> Action | None:
        """Return the class of that name, None when the configuration has it no more."""
        return next((one for one in (*self.classes, self.default) if one.name == name), None)

    def next_run(self, last: float, rested_at: float) -> float:
        """
        Return when a minion may run after its last run.

        ``rested_at`` is when its burst is whole again: ``min_interval`` seconds for each run.
        """
        return min(rested_at - (self.burst - 1) * self.min_interval, last + self.min_interval)

    def of(self, minion: str, meant: Mapping[str, Set[str]]) -> Action:
        """Return the class of a minion; ``meant`` has the minions of each target."""
        for one in self.classes:
            if minion in meant[one.target or ""]:
                return one
        return self.default

    def knows(self, minion: str, meant: Mapping[str, Set[str]], told: Set[str]) -> bool:
        """Whether the class of a minion is certain; ``told`` has those whose grains are known."""
        for one in self.classes:
            if one.needs_grains:
                return minion in told
            if minion in meant[one.target or ""]:
                return True
        return True


def mode_of(given: Options, usual: Mode) -> Mode:
    """Read ``mode``; what cannot be read publishes nothing."""
    read = given.take("mode", one_of(*(mode.value for mode in Mode)), None)
    if read is None:
        return Mode.OBSERVE if given.has("mode") else usual
    return Mode(read)


def is_states(function: str) -> bool:
    """Whether a function answers with the result of each state."""
    return function.partition(".")[0] == "state"


def _uses_module(function: str, arg: tuple[Any, ...]) -> bool:
    called = [function]
    if is_states(function):
        # Names of SLS: one text with commas, or a list of them.
        for one in arg:
            called += one if isinstance(one, list) else str(one).split(",")
    return any(str(one).strip().partition(".")[0] == MODULE for one in called)


def read(given: Options) -> ApplyConfig:
    """Read the block; mistakes go to its ``problems``."""
    defaults = ApplyConfig()
    usual = _published(given, DEFAULT_CLASS, None, defaults.default)
    listed = given.below("classes")
    classes = []
    for name in listed.keys:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            allowed = "as a class's name letters, digits, . _ and -"
            listed.problems.append(ConfigError(listed.path, name, allowed))
            continue
        below = listed.below(name)
        classes.append(_published(below, name, below.take("target", text), usual))
        below.finish()
    apply = ApplyConfig(
        default=usual,
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


def _published(given: Options, name: str, target: str | None, usual: Action) -> Action:
    nothing: tuple[Any, ...] = ()
    states = given.take("states", list_of(text), nothing)
    highstate = given.take("highstate", flag, False)
    function = given.take("function", _function, None)
    arg = given.take("arg", _sequence, nothing, hide=True)
    kwarg = given.take("kwarg", _keywords, _NO_KWARG, hide=True)
    mode = mode_of(given, usual.mode)
    ways = [key for key in ("states", "highstate", "function") if given.has(key)]
    if len(ways) > 1:
        allowed = "only one of states, highstate, function"
        given.problems.append(ConfigError(given.path, ways, allowed))
    if arg and not function:
        given.problems.append(ConfigError(f"{given.path}:arg", HIDDEN, "only with function"))
    words = arg
    if states:
        what, words = "state.apply", (",".join(states),)
    elif function:
        what = function
    elif highstate or target is None:
        what = "state.apply"
    else:
        what, words, kwarg = usual.function, usual.arg, kwarg or usual.kwarg
    return Action(
        name=name,
        target=target,
        function=what,
        arg=words,
        kwarg=kwarg,
        mode=mode,
        implicit=target is None and not any(map(given.has, ("states", "highstate", "function"))),
        sync=given.take("sync", flag, _uses_module(what, words)),
    )


def _function(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", value):
        return value
    raise ValueError("an execution function such as k8s_firewall.sync")


def _sequence(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of arguments")
    for one in value:
        # Salt makes keyword arguments of such words, and of a mapping that says it is some.
        if isinstance(one, str) and (word := _KEYWORD.match(one)):
            _allowed({word[1]: word[2].strip().lower() not in ("", "false")})
        elif isinstance(one, Mapping) and "__kwarg__" in one:
            _allowed(one)
    return tuple(value)


def _keywords(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("a mapping of keyword arguments")
    _allowed(value)
    return dict(value)


def _allowed(value: Mapping[str, Any]) -> None:
    """Refuse what would undo what publishing promises."""
    if value.get("queue"):
        # Queued jobs pile up, cannot be found and outlive restarts.
        raise ValueError("keyword arguments without queue: a busy minion is tried again")
    if value.get("test"):
        raise ValueError("keyword arguments without test: nothing would be applied")
    if any(key.startswith("__") for key in value):
        raise ValueError(f"keyword arguments without {shown('__')} before them")
