"""How a master, and a busy minion, answer to a publish."""

from __future__ import annotations

import inspect
import sys

import pytest
import salt.config
import salt.loader
from salt.modules import state

from salt_ext.core.config.apply import UNQUEUED, Action
from salt_ext.core.rollout.job_result import judge
from salt_ext.master.publisher import MasterSilent, Publisher


@pytest.mark.parametrize("function", sorted(UNQUEUED))
def test_salt_knows_the_argument_queue_of_each_function_that_gets_it(function):
    name = function.partition(".")[2]
    parameters = inspect.signature(getattr(state, {"apply": "apply_"}.get(name, name))).parameters
    # apply hands its keyword arguments on to sls or to highstate.
    assert "queue" in parameters or name == "apply"


class Waits(Exception):
    """This Salt, older than 3008, queues a job in a process that waits for the other job."""


def wait(*_, **__):
    raise Waits


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """The functions of a minion that runs states, with ``state_queue`` in its configuration."""
    opts = salt.config.minion_config(None)
    opts.update({"file_client": "local", "cachedir": str(tmp_path), "state_queue": True})
    functions = salt.loader.minion_mods(opts)
    other = {"fun": "state.sls", "pid": 1, "jid": "20260101000000000001"}
    monkeypatch.setitem(functions, "saltutil.is_running", lambda _: [other])
    module = sys.modules[functions["state.apply"].__globals__["__name__"]]
    monkeypatch.setattr(module, "_prior_running_states", lambda _: [other])
    monkeypatch.setattr(module, "_wait", wait, raising=False)
    return functions


def test_a_minion_that_would_queue_refuses_a_published_action(busy):
    action = Action(arg=("firewall",))
    answer = busy["state.apply"](*action.arg, **action.publish_kwargs)
    assert judge({"return": answer, "retcode": 1}, action.function).refused
    # Without the argument this minion queues it.
    try:
        queued = busy["state.apply"](*action.arg)["queued"]
    except Waits:
        queued = True
    assert queued is True


def test_a_master_that_does_not_answer_is_not_a_master_that_takes_no_job(tmp_path):
    opts = salt.config.master_config(None)
    opts.update({"sock_dir": str(tmp_path), "cachedir": str(tmp_path), "timeout": 1})
    publisher = Publisher(opts)
    with pytest.raises(MasterSilent, match="job 1 was not published: "):
        publisher.apply("1", ["m1"], Action())
