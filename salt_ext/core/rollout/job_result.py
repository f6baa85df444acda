"""Whether the return of a job proves that the firewall was applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salt_ext.core.config.apply import is_states

_BUSY = "is running as PID"
"""Part of Salt's error when another state run is in progress."""

_TEST_MODE = "nothing was changed: the minion runs with test: True"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The judgement of one return; ``error`` is empty when it is proof."""

    error: str = ""
    refused: bool = False
    """The minion was busy with another state run and tried nothing."""

    @property
    def applied(self) -> bool:
        """Whether the run is proof."""
        return not self.error


def judge(job_return: Mapping[str, object], function: str = "state.apply") -> JobResult:
    """
    Judge one minion's return as the master's job cache holds it.

    ``job_return`` has ``return``, and ``retcode`` and ``success`` where the minion sent them.
    """
    if is_states(function):
        return _judge_states(job_return)
    return _judge_function(job_return, function)


def _judge_function(job_return: Mapping[str, object], function: str) -> JobResult:
    answer = job_return.get("return")
    message = _message(answer)
    busy = _BUSY in message
    result = answer.get("result", True) if isinstance(answer, Mapping) else True
    if result is None:
        return JobResult(error=_short(f"{_TEST_MODE}: " if message else _TEST_MODE, message))
    code, success = job_return.get("retcode"), job_return.get("success")
    proven = isinstance(answer, Mapping) and answer.get("result") is True
    failed = (
        busy
        or result is not True
        or (isinstance(answer, Mapping) and bool(answer.get("error")))
        or code not in (None, 0)
        or success is False
        # Some job caches keep neither.
        or (code is None and success is None and not proven)
    )
    if not failed:
        return JobResult()
    if not message:
        message = f"retcode {code}" if code is not None else "the job cache has no details"
    return JobResult(error=_short(f"{function} failed: ", message), refused=busy)


def _message(answer: object) -> str:
    if isinstance(answer, Mapping):
        message = answer.get("error") or answer.get("comment")
        return "" if message is None else str(message).strip()
    if isinstance(answer, list):
        return "; ".join(map(str, answer))
    return answer.strip() if isinstance(answer, str) else ""


def _judge_states(job_return: Mapping[str, object]) -> JobResult:
    states = job_return.get("return")
    if isinstance(states, list):
        message = "; ".join(str(line) for line in states).strip() or "no states, no error message"
        busy = _BUSY in message
        return JobResult(
            error=_short("state run in progress: " if busy else "", message), refused=busy
        )
    if not isinstance(states, Mapping):
        return JobResult(error=_short("no state results: ", str(states)))
    if not states:
        return JobResult(error="the run had no states")
    failed, unchanged = [], []
    for state, outcome in states.items():
        result = outcome.get("result") if isinstance(outcome, Mapping) else False
        if result is None:
            unchanged.append(state)
        elif result is not True:
            comment = outcome.get("comment", "") if isinstance(outcome, Mapping) else outcome
            failed.append(f"{_state_name(state)}: {comment}")
    if failed:
        return JobResult(error=_short("states failed: ", "; ".join(failed)))
    if unchanged:
        return JobResult(error=f"{_TEST_MODE} ({len(unchanged)} states)")
    if job_return.get("retcode", 0) != 0:
        return JobResult(error=f"the job ended with retcode {job_return['retcode']}")
    return JobResult()


def _state_name(key: str) -> str:
    """Return ``id (module.function)`` for a result's key, ``module_|-id_|-name_|-function``."""
    parts = key.split("_|-")
    return f"{parts[1]} ({parts[0]}.{parts[3]})" if len(parts) == 4 else key


def _short(prefix: str, text: str) -> str:
    return f"{prefix}{' '.join(text.split())[:300]}"
