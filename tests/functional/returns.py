"""Returns of minions, judged and settled as the engine does it."""

from __future__ import annotations

from salt_ext.core.config.apply import is_states
from salt_ext.core.rollout.judgement import CLOSE, Judgement, judge
from salt_ext.store import Store

STATES = {"a_|-b_|-b_|-c": {"result": True}}
"""What a run of one state returns."""


def settle(store: Store, jid: str, minion: str, answer: object, now: float, **how) -> Judgement:
    """Let a job return this answer; ``retcode`` is 0."""
    evidence = store.applied.evidence(jid, minion)
    judgement = judge({"return": answer, "retcode": 0, "success": True}, evidence, now)
    store.applied.settle(judgement, now, **how)
    return judgement


def succeed(store: Store, jid: str, minion: str, now: float, **how) -> Judgement:
    """Let a job return as a success; one that closes has closed all."""
    job = store.jobs.get(jid)
    if job is not None and job.step == CLOSE:
        closed = {one.address: "kernel read whole" for one in store.departures.of(minion)}
        answer = {"result": True, "departures": {"closed": closed}}
        return settle(store, jid, minion, answer, now, **how)
    states = job is None or is_states(job.function)
    return settle(store, jid, minion, STATES if states else {"result": True}, now, **how)
