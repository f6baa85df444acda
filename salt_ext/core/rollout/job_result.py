"""Whether a job's return proves that the firewall was applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from salt_ext.core.config.apply import is_states


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What a return means; ``error`` is empty when it is proof."""

    error: str = ""
    refused: bool = False
    """The minion was busy with another state run; nothing was tried."""

    @property
    def applied(self) -> bool:
        """Whether the run is proof."""
        return not self.error


def judge(told: Mapping[str, Any], function: str = "state.apply") -> JobResult:
    """
    Judge one minion's return as the master's job cache holds it.

    ``told`` has ``return``, and ``retcode`` and ``success`` where the minion sent them.
    """
    if is_states(function):
        return _judge_states(told)
    return _judge_function(told, function)


def _judge_function(told: Mapping[str, Any], function: str) -> JobResult:
    answer = told.get("return")
    words = _words(answer)
    busy = "is running as PID" in words
    result = answer.get("result", True) if isinstance(answer, Mapping) else True
    if result is None:
        unsure = "nothing was written: the minion runs with test: True"
        return JobResult(error=_short(f"{unsure}: " if words else unsure, words))
    code, success = told.get("retcode"), told.get("success")
    proven = isinstance(answer, Mapping) and answer.get("result") is True
    wrong = (
        busy
        or result is not True
        or (isinstance(answer, Mapping) and bool(answer.get("error")))
        or code not in (None, 0)
        or success is False
        # Not every job cache keeps them.
        or (code is None and success is None and not proven)
    )
    if not wrong:
        return JobResult()
    what = f"{function} failed"
    if not words:
        words = f"retcode {code}" if code is not None else "the job cache does not tell more"
    return JobResult(error=_short(f"{what}: ", words), refused=busy)


def _words(answer: object) -> str:
    if isinstance(answer, Mapping):
        said = answer.get("error") or answer.get("comment")
        return "" if said is None else str(said).strip()
    if isinstance(answer, list):
        return "; ".join(map(str, answer))
    return answer.strip() if isinstance(answer, str) else ""


def _judge_states(told: Mapping[str, Any]) -> JobResult:
    states = told.get("return")
    if isinstance(states, list):
        text = "; ".join(str(line) for line in states).strip() or "no states, and no reason"
        busy = "is running as PID" in text
        return JobResult(
            error=_short("state run in progress: " if busy else "", text), refused=busy
        )
    if not isinstance(states, Mapping):
        return JobResult(error=_short("no state results: ", str(states)))
    if not states:
        return JobResult(error="the run had no states")
    failed, unsure = [], []
    for state, result in states.items():
        outcome = result.get("result") if isinstance(result, Mapping) else False
        if outcome is None:
            unsure.append(state)
        elif outcome is not True:
            comment = result.get("comment", "") if isinstance(result, Mapping) else result
            failed.append(f"{_name(state)}: {comment}")
    if failed:
        return JobResult(error=_short("states failed: ", "; ".join(failed)))
    if unsure:
        return JobResult(
            error=f"nothing was written: the minion runs with test: True ({len(unsure)})"
        )
    if told.get("retcode", 0) != 0:
        return JobResult(error=f"the job ended with retcode {told['retcode']}")
    return JobResult()


def _name(state: str) -> str:
    """Return ``id (module.function)`` of a state's key, which is module_|-id_|-name_|-function."""
    parts = state.split("_|-")
    return f"{parts[1]} ({parts[0]}.{parts[3]})" if len(parts) == 4 else state


def _short(what: str, text: str) -> str:
    words = " ".join(text.split())
    return f"{what}{words[:300]}"
