"""Each sentence of docs/security.md has the test that proves it, or says why none can."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"

ADVICE = "advice to the reader"
OF_SALT = "about Salt itself: read in its sources"

MEMBER = "core/test_member.py"
MEMBERS = "core/test_membership.py"
MODEL = "core/test_guard_model.py::test_the_guard_keeps_its_promises_over_random_histories"
GUARD = "core/test_guard.py"
CONFIRM = "functional/test_confirm.py"
CONVERGE = "integration/test_minions_converge.py"
MERGING = "functional/test_pillar_merging.py"
FAIL_CLOSED = (
    "core/test_config_fail_closed.py::"
    "test_no_mistake_lets_an_address_in_that_the_valid_configuration_kept_out"
)

# The first words of a sentence, with its tests below tests/, or with the reason why there is none.
PROOFS: dict[str, tuple[str, ...] | str] = {
    "A Node object is written": (f"{MEMBER}::test_a_false_claim_is_rejected_and_others_are_kept",),
    "Only addresses inside": (
        f"{MEMBER}::test_without_allowed_networks_every_address_is_rejected",
        "functional/test_refusals.py::test_a_refusal_is_one_event_and_one_line_with_key_and_cure",
        f"{MERGING}::test_addresses_that_the_configuration_no_longer_allows_are_not_served",
    ),
    "Only canonical": ("core/test_address.py::test_every_accepted_text_is_canonical",),
    "What one node can do": (
        "core/test_membership_properties.py::test_a_flapping_node_makes_few_changes",
    ),
    "It has at most": (
        "core/test_membership_properties.py::test_nothing_is_open_that_its_node_has_not_claimed_within_the_grace",
    ),
    "What it claims and drops": (
        "core/test_flapping.py::test_the_third_return_is_damped_until_the_node_has_kept_it",
        "core/test_flapping.py::test_the_time_doubles_up_to_an_hour",
    ),
    "Its labels change": (
        "core/test_flapping.py::test_the_first_changes_are_shown_at_once_and_then_the_newest_now_and_then",
        "functional/test_wire.py::test_labels_of_a_megabyte_are_not_kept_and_the_node_says_so",
        "functional/test_wire.py::test_too_many_labels_are_not_kept",
        "functional/test_wire.py::test_a_long_text_is_cut_and_stays_unreadable",
    ),
    "Nothing that it claims": (
        "core/test_membership_properties.py::test_the_address_of_an_honest_node_is_open_whatever_others_do",
        "core/test_membership_properties.py::test_moments_of_liars_end_no_grace",
        f"{MEMBERS}::test_an_address_that_another_node_keeps_claiming_loses_its_grace_for_good",
    ),
    "`guards:grace` is": (f"{MEMBERS}::test_further_changes_do_not_extend_the_grace",),
    "An address that a node no longer": (
        f"{MEMBERS}::test_a_list_without_the_addresses_starts_the_grace",
        f"{MEMBERS}::test_a_grace_of_zero_is_none",
    ),
    "A host that is given": "the price of the grace, which follows from the sentence before",
    "Unknown is not empty": (MODEL,),
    "An error, a time-out": (
        "faults/test_listing.py::test_a_page_that_fails_changes_nothing",
        "faults/test_listing.py::test_a_200_with_something_else_is_an_error_and_no_empty_cluster",
        "faults/test_listing.py::test_a_cut_list_changes_nothing",
        "faults/test_identity.py::test_a_held_change_stays_held_over_a_restart_of_the_engine",
    ),
    "What was known stays": (
        "integration/test_loop.py::test_without_the_api_nothing_changes_and_status_says_stale",
    ),
    "A mistake in the configuration opens": (FAIL_CLOSED,),
    "A mistake that may be": (
        FAIL_CLOSED,
        "core/test_config.py::test_what_could_be_read_of_denied_networks_counts",
    ),
    "A list of `allowed_networks`": (
        "core/test_config.py::test_other_spellings_of_everything_are_refused_too",
        "core/test_config.py::test_a_mistake_is_one_line",
        "core/test_config.py::test_a_target_that_is_only_what_it_excludes_is_refused",
    ),
    "Guards hold what looks": (MODEL, f"{GUARD}::test_a_cluster_may_double_but_not_more_at_once"),
    "Growth counts nodes": (
        f"{GUARD}::test_known_nodes_that_report_many_more",
        f"{GUARD}::test_slow_growth_has_a_budget_for_a_day",
    ),
    "What one guard releases": (
        f"{GUARD}::test_fewer_than_min_nodes_are_held",
        f"{GUARD}::test_many_fewer_are_held_until_a_second_list",
        MODEL,
    ),
    "A person releases exactly": (
        "faults/test_changes.py::test_a_confirmation_lets_in_what_was_shown_and_none_that_came_since",
    ),
    "The token of `confirm`": (
        f"{CONFIRM}::test_names_with_any_text_make_different_tokens",
        f"{CONFIRM}::test_a_member_changes_its_token_with_uid_and_addresses_and_not_with_labels",
    ),
    "When any of it has changed": (
        f"{CONFIRM}::test_a_token_of_what_has_changed_is_refused_with_the_new_picture",
    ),
    "What a person rejects": (
        "faults/test_changes.py::test_what_was_rejected_stays_out_over_restarts_until_it_changes",
    ),
    "No machine pushes": (
        "functional/test_history.py::test_a_minion_that_toggles_its_references",
        "functional/test_history.py::test_a_machine_that_calls_the_same_actions",
    ),
    "Each action is kept": (
        "functional/test_history.py::test_a_pause_and_its_end_say_who_why_and_what_was_waiting",
        f"{CONFIRM}::test_a_token_releases_its_change_alone",
    ),
    "A flapping node pushes": (
        "functional/test_history.py::test_a_flapping_kubelet_of_another_cluster",
        "functional/test_history.py::test_each_share_keeps_its_newest",
    ),
    "A minion that toggles": (
        "functional/test_history.py::test_a_minion_that_toggles_its_references",
        "functional/test_history.py::test_a_minion_that_does_it_slowly",
        "functional/test_history.py::test_many_minions_that_do_it",
    ),
    "A node that changes after": (
        f"{GUARD}::test_the_same_name_with_another_uid_or_address_is_held",
    ),
    "What persons decided outlives": (
        "integration/test_lost_store.py::test_a_pause_and_every_address_outlive_it_until_a_person_resumes",
    ),
    "A pause, the identity": (
        "faults/test_changes.py::test_what_was_rejected_stays_out_over_restarts_until_it_changes",
        "functional/test_recovery.py::test_another_identity_than_the_pinned_one_is_not_published",
    ),
    "When it cannot be used": (
        "functional/test_recovery.py::test_nothing_is_published_for_a_pause_may_be_lost",
        "functional/test_decisions.py::test_resume_sets_it_aside_says_so_and_begins_a_new_file",
    ),
    "When the store is lost": (
        "functional/test_recovery.py::test_nothing_is_published_until_the_views_agree",
        "integration/test_lost_store.py::test_it_goes_on_by_itself_once_the_view_agrees_with_what_minions_were_served",
    ),
    "An accepted minion that lies": "a limit that is told: no test can prove what is not promised",
    "Whoever can write": "a limit that is told: that user can replace this product",
    "Events are hints": (f"{CONVERGE}::test_forged_and_doubled_events_publish_nothing",),
    "Any minion can fire": OF_SALT,
    "Ours carry nothing": (
        "functional/test_reactor.py::test_nothing_is_taken_from_the_data",
        "functional/test_runner.py::test_a_cluster_that_is_not_configured_is_refused_by_name",
    ),
    "Whether a minion has applied": (f"{CONVERGE}::test_a_forged_return_proves_nothing",),
    "Salt lets a minion file": OF_SALT,
    "A minion under an attacker's": OF_SALT,
    "Where that matters": ADVICE,
    "From Salt's sources": OF_SALT,
    "A flood of forged events": (
        "core/test_rate_limiter.py::test_a_thousand_forged_starts_in_an_hour_cause_a_few_runs",
        f"{CONVERGE}::test_a_forged_start_costs_a_few_runs",
    ),
    "Salt renders the reactor's": OF_SALT,
    "Name the clusters": ADVICE,
    "A `pillar=` override": (
        f"{MERGING}::test_an_override_cannot_make_a_cluster_serve_a_minion_that_it_does_not_name",
    ),
    "What it wrote itself": (
        "functional/test_payload.py::test_an_override_is_not_granted_anything",
    ),
    "`serve_to` names": (f"{MERGING}::test_a_cluster_serves_only_the_minions_that_it_names",),
    "Secrets: kubeconfig": ADVICE,
    "Nothing of them is logged": ("functional/test_session.py::test_no_secret_gets_into_a_log",),
    "Of a mistake in the configuration": (
        "core/test_config.py::test_a_possible_secret_in_a_wrong_place_is_not_shown",
        "core/test_config.py::test_a_wrong_token_is_never_shown",
    ),
    "An exec plugin": "about Kubernetes' exec plugins",
    "The store holds": ("functional/test_store.py::test_only_its_owner_can_read_it",),
    "On a minion": (
        "firewall/test_firewall_hostile.py::test_no_text_of_a_pillar_gets_further_than_it_should",
        "minion/test_minion_rules_and_gates.py::test_no_text_of_a_rule_can_end_its_quotes_or_its_line",
    ),
    "A gate is before": (
        "minion/test_minion_access.py::test_a_gate_closes_before_a_rule_opens",
        "firewall/test_firewall_gates.py::test_an_established_connection_dies_with_the_membership",
    ),
    "What no reference has served": (
        "firewall/test_firewall_prune.py::test_what_was_never_served_by_us_stays",
        "firewall/test_firewall_prune.py::test_who_is_static_or_to_be_kept_stays_with_its_connections",
    ),
    "An address that is allowed by": "a limit that is told",
    "Whoever can flush": (
        "firewall/test_firewall_gates.py::test_a_flush_of_everything_is_a_problem_until_the_next_sync",
    ),
    "Addresses in a publish": (
        "firewall/test_firewall_delivery.py::test_what_its_master_has_not_sealed_for_it_is_not_taken",
        "firewall/test_firewall_delivery.py::test_an_older_one_or_the_same_is_not_taken",
    ),
    "The master's secret": (
        "functional/test_payload.py::test_the_secret_is_made_once_and_only_root_reads_it",
    ),
    "No request without": (
        "functional/test_session.py::test_nothing_is_sent_without_credentials",
        "functional/test_session.py::test_only_https_without_a_password_in_it_is_asked",
    ),
    "The API server's certificate": (
        "functional/test_session.py::test_a_kubeconfig_alone_does_not_turn_verification_off",
        "functional/test_session.py::test_a_server_of_another_ca_is_not_asked",
    ),
    "That key is warned": (
        "functional/test_secret_tokens.py::test_an_engine_without_verification_says_so_at_each_start_and_in_status",
    ),
}


def sentences() -> list[str]:
    """Return the sentences of the page, without its markup."""
    found = []
    for item in re.split(r"\n(?=- )", PAGE.read_text().partition("\n\n")[2].strip()):
        text = " ".join(line.strip() for line in item.removeprefix("- ").splitlines())
        found += re.split(r"(?<=[.!?])\s+(?=[A-Z`])", text.replace("**", ""))
    return found


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_each_sentence_has_one_proof():
    found = sentences()
    assert len(found) > 50
    for sentence in found:
        matching = [words for words in PROOFS if sentence.startswith(words)]
        assert len(matching) == 1, f"{sentence!r}: {matching}"


@pytest.mark.parametrize("words", PROOFS)
def test_each_proof_has_its_sentence_and_its_tests(words):
    assert len([sentence for sentence in sentences() if sentence.startswith(words)]) == 1
    proof = PROOFS[words]
    missing = [
        test
        for test in (proof if isinstance(proof, tuple) else ())
        if test.partition("::")[2] not in names_in(test.partition("::")[0])
    ]
    assert missing == []
    assert proof
