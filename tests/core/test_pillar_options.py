"""What keeps references in pillars from working is said, with the option's name."""

from __future__ import annotations

import pytest

from salt_ext.core.diagnosis.pillar_options import findings

RIGHT = {"ext_pillar": [{"git": []}, {"k8s_nodes": {}}], "ext_pillar_first": False}


def test_there_is_nothing_to_say_of_a_right_configuration():
    assert findings(RIGHT) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ext_pillar": []}, "ext_pillar: has no k8s_nodes"),
        ({"ext_pillar": None}, "ext_pillar: has no k8s_nodes"),
        ({"ext_pillar": ["k8s_nodes"]}, "ext_pillar: has no k8s_nodes"),
        ({"ext_pillar": [{"k8s_nodes": {}}, {"git": []}, {"x": 1}]}, "git, x comes after"),
        ({"ext_pillar_first": True}, "ext_pillar_first: true compiles"),
        ({"pillar_cache": True}, "pillar_cache: true hands out"),
    ],
)
def test_each_option_that_does_not_fit_is_named(options, said):
    (found,) = findings({**RIGHT, **options})
    assert said in str(found)
    assert found.mend
    assert "\n" not in str(found)
