"""Only a return that shows every state as applied is proof; these are shapes that Salt sends."""

from __future__ import annotations

import pytest

from salt_ext.core.rollout.job_result import judge

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


def told(answer: object, **more: object) -> dict[str, object]:
    return {"return": answer, "retcode": 0, "success": True, **more}


class TestProof:
    @pytest.mark.parametrize("changes", [{}, {"locale": "prod"}])
    def test_states_that_all_succeeded(self, changes):
        verdict = judge(told({KEY: state(True, changes=changes)}))
        assert verdict.applied
        assert (verdict.error, verdict.refused) == ("", False)

    def test_a_return_without_a_retcode(self):
        assert judge({"return": {KEY: state(True)}}).applied


class TestNoProof:
    def test_a_minion_that_is_busy_refused(self):
        verdict = judge(told(RUNNING, retcode=1, success=False))
        assert verdict.refused
        assert not verdict.applied
        assert verdict.error.startswith("state run in progress: ")
        assert "4711" in verdict.error

    @pytest.mark.parametrize("lines", [SLS_MISSING, RENDER, PILLAR, ["anything"], [], [""]])
    def test_a_list_is_a_list_of_errors(self, lines):
        verdict = judge(told(lines, retcode=1))
        assert not verdict.applied
        assert not verdict.refused
        assert verdict.error

    def test_the_error_is_in_it(self):
        assert "has no attribute 'x'" in judge(told(RENDER)).error

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
    def test_what_is_no_result_of_states(self, answer):
        verdict = judge(told(answer))
        assert not verdict.applied
        assert "\n" not in verdict.error

    def test_nothing_at_all(self):
        assert not judge({}).applied

    def test_a_state_that_failed_is_named(self):
        verdict = judge(
            told(
                {
                    KEY: state(False, comment="Failed to set append rule"),
                    "pkg_|-tools_|-iptables_|-installed": state(True),
                },
                retcode=2,
            )
        )
        assert not verdict.refused
        assert verdict.error == (
            "states failed: prod 192.0.2.1 (iptables.append): Failed to set append rule"
        )

    def test_a_state_under_test_true_wrote_nothing(self):
        verdict = judge(told({KEY: state(None, comment="is set to be added")}))
        assert not verdict.applied
        assert "test: True" in verdict.error

    def test_a_failure_is_told_before_test_mode(self):
        verdict = judge(told({KEY: state(None), "a_|-b_|-c_|-d": state(False, comment="broken")}))
        assert verdict.error == "states failed: b (a.d): broken"

    @pytest.mark.parametrize("result", ["True", 1, "", 0, [], {}])
    def test_only_true_is_true(self, result):
        assert not judge(told({KEY: state(result)})).applied

    @pytest.mark.parametrize("result", ["text", None, [], True])
    def test_a_state_that_is_no_mapping(self, result):
        assert not judge(told({KEY: result})).applied

    def test_a_state_without_a_result(self):
        assert not judge(told({KEY: {"comment": "x"}})).applied

    def test_a_retcode_beside_good_states(self):
        verdict = judge(told({KEY: state(True)}, retcode=5))
        assert verdict.error == "the job ended with retcode 5"

    def test_a_key_of_another_shape_is_told_as_it_is(self):
        assert judge(told({"odd": state(False, comment="no")})).error == "states failed: odd: no"

    def test_a_long_error_is_cut_and_one_line(self):
        verdict = judge(told(["first\nline\t" + "x" * 10_000]))
        assert "\n" not in verdict.error
        assert len(verdict.error) < 400


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
        assert judge(told(answer), SYNC).applied

    def test_a_job_cache_that_keeps_no_retcode_needs_a_result(self):
        assert judge({"return": {"result": True}}, SYNC).applied
        assert not judge({"return": "done"}, SYNC).applied

    @pytest.mark.parametrize(
        ("answer", "more", "says"),
        [
            ({"result": False, "comment": "no nft"}, {}, "k8s_firewall.sync failed: no nft"),
            ({"result": None, "comment": "would"}, {}, "nothing was written: the minion runs"),
            ({"error": "no pillar"}, {}, "k8s_firewall.sync failed: no pillar"),
            ({"result": True}, {"retcode": 1}, "k8s_firewall.sync failed: retcode 1"),
            ({"result": 1}, {}, "k8s_firewall.sync failed"),
            ("'x' is not available.", {"retcode": 254, "success": False}, "is not available"),
            ("The minion function caused an exception", {"success": False}, "an exception"),
            (["Pillar failed to render"], {"retcode": 5}, "Pillar failed to render"),
        ],
    )
    def test_a_function_that_did_not(self, answer, more, says):
        verdict = judge(told(answer, **more), SYNC)
        assert not verdict.applied
        assert not verdict.refused
        assert says in verdict.error

    def test_a_minion_that_is_busy_refused(self):
        assert judge(told(RUNNING, retcode=1, success=False), SYNC).refused

    def test_state_functions_are_judged_by_their_states(self):
        assert not judge(told(True), "state.sls").applied
