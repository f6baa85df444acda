"""Options that keep references from being replaced are findings, with the option's name."""

from __future__ import annotations

import pytest

from salt_ext.core.diagnosis.pillar_options import findings

RIGHT = {"ext_pillar": [{"git": []}, {"k8s_nodes": {}}], "ext_pillar_first": False}


def test_a_correct_configuration_has_no_findings():
    assert findings(RIGHT) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ext_pillar": []}, "ext_pillar: has no k8s_nodes"),
        ({"ext_pillar": None}, "ext_pillar: has no k8s_nodes"),
        ({"ext_pillar": ["k8s_nodes"]}, "ext_pillar: has no k8s_nodes"),
        ({"ext_pillar": [{"k8s_nodes": {}}, {"git": []}, {"x": 1}]}, "git, x comes after"),
        ({"ext_pillar_first": True}, "ext_pillar_first: true compiles"),
        ({"pillar_cache": True}, "pillar_cache: true serves cached pillars"),
    ],
)
def test_each_wrong_option_is_named(options, said):
    (found,) = findings({**RIGHT, **options})
    assert said in str(found)
    assert found.fix
    assert "\n" not in str(found)
