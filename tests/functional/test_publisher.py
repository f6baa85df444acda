"""What a master, and a minion that is busy, make of what we publish."""

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
def test_salt_takes_the_word_where_it_is_sent(function):
    name = function.partition(".")[2]
    taken = inspect.signature(getattr(state, {"apply": "apply_"}.get(name, name))).parameters
    # apply hands its keyword arguments on to sls or to highstate.
    assert "queue" in taken or name == "apply"


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """The functions of a minion that runs states, and is to queue whatever comes meanwhile."""
    opts = salt.config.minion_config(None)
    opts.update({"file_client": "local", "cachedir": str(tmp_path), "state_queue": True})
    functions = salt.loader.minion_mods(opts)
    other = {"fun": "state.sls", "pid": 1, "jid": "20260101000000000001"}
    monkeypatch.setitem(functions, "saltutil.is_running", lambda _: [other])
    module = sys.modules[functions["state.apply"].__globals__["__name__"]]
    monkeypatch.setattr(module, "_prior_running_states", lambda _: [other])
    return functions


def test_a_minion_that_would_queue_refuses_what_we_publish(busy):
    published = Action(arg=("firewall",))
    told = busy["state.apply"](*published.arg, **published.publish_kwargs)
    assert judge({"return": told, "retcode": 1}, published.function).refused
    # Else this minion keeps it for later.
    assert busy["state.apply"](*published.arg)["queued"] is True


def test_a_master_that_is_not_there_is_told_from_one_that_takes_no_job(tmp_path):
    opts = salt.config.master_config(None)
    opts.update({"sock_dir": str(tmp_path), "cachedir": str(tmp_path), "timeout": 1})
    publisher = Publisher(opts)
    with pytest.raises(MasterSilent, match="job 1 was not published: "):
        publisher.apply("1", ["m1"], Action())
