"""The generation of nftables tells whether another program changed it."""

from __future__ import annotations

import pytest

from k8s_firewall_parts import generation


@pytest.mark.parametrize(
    ("after", "is_next"),
    [
        ("b 7 4 1", True),
        ("b 7 4 2", True),
        ("b 7 5 1", False),
        ("b 7 3 1", False),
        ("c 7 4 1", False),
        ("b 8 4 1", False),
        ("", False),
    ],
)
def test_one_transaction_and_no_other_was_in_between(after, is_next):
    assert generation.follows(after, "b 7 3 1") is is_next
    assert not generation.follows(after, "")
