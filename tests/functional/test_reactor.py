"""The reactor passes a name on and nothing else, whatever a minion puts on the bus."""

from __future__ import annotations

from importlib.resources import files

import pytest
import salt.config
import salt.loader
import salt.template
import yaml

from salt_ext.reactor.__main__ import snippet

SLS = str(files("salt_ext.reactor") / "apply.sls")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reactor")
    opts = salt.config.master_config(None)
    opts.update({"cachedir": str(folder / "cache"), "extension_modules": str(folder / "extmods")})
    renderers = salt.loader.render(opts, {})

    def render(tag: str, data: object) -> dict:
        return salt.template.compile_template(
            SLS, renderers, opts["renderer"], None, None, tag=tag, data=data
        )

    return render


CALL = {"k8s_nodes_apply": {"runner.k8s_nodes.apply": [{"args": [{"cluster": "prod"}]}]}}


@pytest.mark.parametrize("what", ["changed", "lagging"])
def test_it_calls_the_runner_with_the_name_of_the_cluster(rendered, what):
    assert rendered(f"salt/k8s_nodes/prod/{what}", {"cluster": "other"}) == CALL


@pytest.mark.parametrize(
    "data",
    [
        {},
        None,
        {"cluster": "other", "tgt": "*", "added": ["0.0.0.0/0"]},
        {"x": "{{ salt['cmd.run']('reboot') }}"},
        {"x": "\n  runner.state.orchestrate: []\n"},
    ],
)
def test_nothing_is_taken_from_the_data(rendered, data):
    assert rendered("salt/k8s_nodes/prod/changed", data) == CALL


@pytest.mark.parametrize(
    "name",
    [
        "",
        "null",
        "true",
        "1e3",
        "*",
        "&x *x",
        "prod: x",
        "prod\n- cluster: other",
        "'\"`$(reboot)",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "\\",
        "<script>&<>",
        "\x00\x1b\U0001f600",
        "x" * 10_000,
    ],
)
def test_a_forged_name_is_one_string(rendered, name):
    call = rendered(f"salt/k8s_nodes/{name}/changed", {})
    (args,) = call["k8s_nodes_apply"]["runner.k8s_nodes.apply"]
    assert args == {"args": [{"cluster": name}]}


def test_the_snippet_names_the_file_that_is_installed():
    lists = yaml.safe_load(snippet())["reactor"]
    assert lists == [
        {"salt/k8s_nodes/*/changed": [SLS]},
        {"salt/k8s_nodes/*/lagging": [SLS]},
    ]
