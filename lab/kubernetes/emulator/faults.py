"""
Rules that say which requests are answered wrongly, and how.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any

from lab.kubernetes.emulator.actions import Action


@dataclass(slots=True, kw_only=True)
class Rule:
    """
    On matching requests: let ``skip`` pass, then act on each ``every``-th, ``times`` times in all
    (None: for ever).
    """

    number: int
    action: Action
    verb: str = "any"
    path: str = ""
    user: str = ""
    page: int = 0
    skip: int = 0
    times: int | None = 1
    every: int = 1
    matched: int = 0
    fired: int = 0

    def fires(self, verb: str, path: str, user: str, page: int) -> bool:
        if self.verb not in ("any", verb) or (self.user and self.user != user):
            return False
        if (self.page and self.page != page) or not re.search(self.path, path):
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        self.matched += 1
        turn = self.matched - self.skip - 1
        if turn < 0 or turn % self.every:
            return False
        self.fired += 1
        return True


@dataclass(slots=True)
class Faults:
    """The rules in force; the first one that fires wins."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rules: dict[int, Rule] = field(default_factory=dict)
    _count: int = 0

    def add(self, **options: Any) -> int:
        with self._lock:
            self._count += 1
            self._rules[self._count] = Rule(number=self._count, **options)
            return self._count

    def remove(self, number: int | None = None) -> None:
        with self._lock:
            if number is None:
                self._rules.clear()
            else:
                self._rules.pop(number, None)

    def action(self, verb: str, path: str, user: str, page: int) -> tuple[int, Action] | None:
        with self._lock:
            for rule in self._rules.values():
                if rule.fires(verb, path, user, page):
                    return rule.number, rule.action
            return None

    def holds(self, number: int) -> bool:
        """Whether the rule is still there: what hangs because of it goes on once it is removed."""
        with self._lock:
            return number in self._rules

    def fired(self, number: int) -> int:
        with self._lock:
            rule = self._rules.get(number)
            return rule.fired if rule else 0
