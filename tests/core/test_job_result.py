"""Only a return with every state applied is proof; these are returns that Salt sends."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from salt_ext.core.rollout.job_result import JobResult, judge

KEY = "iptables_|-prod 192.0.2.1_|-prod 192.0.2.1_|-append"
SLS_MISSING = [
    "No matching sls found for 'firewall' in env 'base'",
]
RENDER = [
    "Rendering SLS 'base:firewall' failed: Jinja variable 'dict object' has no attribute 'x'",
]
PILLAR = ["Pillar failed to render with the following messages:", "Rendering SLS 'a' failed."]
RUNNING = [
    'The function "state.apply" is running as PID 4711 and was started at 2026, Nov 23 00:00:00',
]


def state(result: object, **more: object) -> dict[str, object]:
    return {
        "__id__": "prod 192.0.2.1",
        "__run_num__": 0,
        "__sls__": "firewall",
        "changes": {},
        "comment": "",
        "duration": 1.5,
        "name": "prod 192.0.2.1",
        "result": result,
        "start_time": "00:00:00.000000",
        **more,
    }


def job_return(answer: object, **more: object) -> dict[str, object]:
    return {"return": answer, "retcode": 0, "success": True, **more}


def test_a_judgement_cannot_be_altered():
    result = JobResult(error="states failed: x")
    with pytest.raises(FrozenInstanceError):
        result.error = ""


class TestProof:
    @pytest.mark.parametrize("changes", [{}, {"locale": "prod"}])
    def test_states_that_all_succeeded(self, changes):
        result = judge(job_return({KEY: state(True, changes=changes)}))
        assert result.applied
        assert (result.error, result.refused) == ("", False)

    def test_a_return_without_a_retcode(self):
        assert judge({"return": {KEY: state(True)}}).applied


class TestNoProof:
    def test_a_busy_minion_refused(self):
        result = judge(job_return(RUNNING, retcode=1, success=False))
        assert result.refused
        assert not result.applied
        assert result.error.startswith("state run in progress: ")
        assert "4711" in result.error

    @pytest.mark.parametrize("lines", [SLS_MISSING, RENDER, PILLAR, ["anything"], [], [""]])
    def test_a_list_is_a_list_of_errors(self, lines):
        result = judge(job_return(lines, retcode=1))
        assert not result.applied
        assert not result.refused
        assert result.error

    def test_the_error_has_the_message(self):
        assert "has no attribute 'x'" in judge(job_return(RENDER)).error

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            True,
            "'state.apply' is not available.",
            "Traceback (most recent call last):\n  File ...",
            "The minion function caused an exception: ...",
            0,
            {},
        ],
    )
    def test_an_answer_without_state_results(self, answer):
        result = judge(job_return(answer))
        assert not result.applied
        assert "\n" not in result.error

    def test_an_empty_return(self):
        assert not judge({}).applied

    def test_a_state_that_failed_is_named(self):
        result = judge(
            job_return(
                {
                    KEY: state(False, comment="Failed to set append rule"),
                    "pkg_|-tools_|-iptables_|-installed": state(True),
                },
                retcode=2,
            )
        )
        assert not result.refused
        assert result.error == (
            "states failed: prod 192.0.2.1 (iptables.append): Failed to set append rule"
        )

    def test_a_state_in_test_mode_changed_nothing(self):
        result = judge(job_return({KEY: state(None, comment="is set to be added")}))
        assert not result.applied
        assert "test: True" in result.error

    def test_a_failure_is_reported_before_test_mode(self):
        result = judge(
            job_return({KEY: state(None), "a_|-b_|-c_|-d": state(False, comment="broken")})
        )
        assert result.error == "states failed: b (a.d): broken"

    @pytest.mark.parametrize("result", ["True", 1, "", 0, [], {}])
    def test_only_true_is_true(self, result):
        assert not judge(job_return({KEY: state(result)})).applied

    @pytest.mark.parametrize("result", ["text", None, [], True])
    def test_a_state_result_that_is_not_a_mapping(self, result):
        assert not judge(job_return({KEY: result})).applied

    def test_a_state_without_a_result(self):
        assert not judge(job_return({KEY: {"comment": "x"}})).applied

    @pytest.mark.parametrize("retcode", [5, -9])
    def test_a_bad_retcode_with_good_states(self, retcode):
        result = judge(job_return({KEY: state(True)}, retcode=retcode))
        assert result.error == f"the job ended with retcode {retcode}"

    @pytest.mark.parametrize("key", ["odd", "a_|-b_|-c", "a_|-b_|-c_|-d_|-e"])
    def test_a_key_of_another_shape_is_reported_unchanged(self, key):
        result = judge(job_return({key: state(False, comment="no")}))
        assert result.error == f"states failed: {key}: no"

    def test_a_long_error_is_cut_and_one_line(self):
        result = judge(job_return(["first\nline\t" + "x" * 10_000]))
        assert result.error == "first line " + "x" * 289


SYNC = "k8s_firewall.sync"


class TestFunctions:
    @pytest.mark.parametrize(
        "answer",
        [
            {"result": True, "comment": "2 sets", "version": "1"},
            {"changes": {}},
            None,
            True,
            "done",
            [],
        ],
    )
    def test_a_function_that_succeeded(self, answer):
        assert judge(job_return(answer), SYNC).applied

    def test_without_a_retcode_a_result_is_needed(self):
        assert judge({"return": {"result": True}}, SYNC).applied
        assert not judge({"return": "done"}, SYNC).applied

    @pytest.mark.parametrize(
        ("answer", "more", "says"),
        [
            ({"result": False, "comment": "no nft"}, {}, "k8s_firewall.sync failed: no nft"),
            ({"result": None, "comment": "would"}, {}, "nothing was changed: the minion runs"),
            ({"error": "no pillar"}, {}, "k8s_firewall.sync failed: no pillar"),
            ({"result": True}, {"retcode": 1}, "k8s_firewall.sync failed: retcode 1"),
            ({"result": 1}, {}, "k8s_firewall.sync failed"),
            ("'x' is not available.", {"retcode": 254, "success": False}, "is not available"),
            ("The minion function caused an exception", {"success": False}, "an exception"),
            (["Pillar failed to render"], {"retcode": 5}, "Pillar failed to render"),
        ],
    )
    def test_a_function_that_failed(self, answer, more, says):
        result = judge(job_return(answer, **more), SYNC)
        assert not result.applied
        assert not result.refused
        assert says in result.error

    @pytest.mark.parametrize(("comment", "ends"), [("would", "True: would"), ("", "True")])
    def test_the_comment_of_test_mode_is_in_the_error(self, comment, ends):
        result = judge(job_return({"result": None, "comment": comment}), SYNC)
        assert result.error == f"nothing was changed: the minion runs with test: {ends}"

    def test_a_busy_minion_refused(self):
        assert judge(job_return(RUNNING, retcode=1, success=False), SYNC).refused

    def test_state_functions_are_judged_by_their_states(self):
        assert not judge(job_return(True), "state.sls").applied
