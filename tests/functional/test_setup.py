"""The configuration that `setup` prints loads, loses nothing, and passes `check`."""

from __future__ import annotations

import json
import shlex
import threading
import time
from importlib.resources import files
from pathlib import Path

import pytest
import salt.config
import salt.loader
import yaml

from lab.kubernetes import open_backend
from lab.kubernetes.nodes import Nodes
from lab.kubernetes.real_backend import unavailable
from salt_ext import formula
from salt_ext.core.config.access import ClusterAccess
from salt_ext.core.diagnosis import config_files, rbac_manifest
from salt_ext.kube.api import NodeChanged, NodesApi
from salt_ext.kube.preflight import CLUSTER_ADMIN, REQUIRED, preflight
from salt_ext.kube.session import Session
from salt_ext.master.config_files import config_files as files_of
from salt_ext.store import Health, Store
from salt_ext.store.locks import ENGINE, engine_lock
from tests.core.build import member, snapshot

ROOT = Path(__file__).parents[2]
REACT = str(files("salt_ext.reactor") / "apply.sls")

LAYOUTS = {
    "no files": {},
    "lists in the main file": {
        "master": {
            "ext_pillar": [{"git": ["x"]}],
            "engines": [{"other": {}}],
            "reactor": [{"salt/minion/*/start": ["/srv/start.sls"]}],
            "file_roots": {"base": ["/srv/states"], "dev": ["/srv/dev"]},
            "pillar_cache": True,
        },
    },
    "lists in a file of master.d": {
        "master.d/a.conf": {
            "ext_pillar": [{"git": ["x"]}],
            "engines": [{"other": {}}],
            "reactor": [{"salt/minion/*/start": ["/srv/start.sls"]}],
            "file_roots": {"base": ["/srv/states"], "dev": ["/srv/dev"]},
        },
    },
    "lists in two files of master.d": {
        "master.d/a.conf": {"ext_pillar": [{"git": ["x"]}], "engines": [{"other": {}}]},
        "master.d/z.conf": {
            "ext_pillar": [{"k8s_nodes": {}}, {"stack": "y"}],
            "reactor": [{"salt/minion/*/start": ["/srv/start.sls"]}],
            "fileserver_backend": ["git"],
        },
    },
    "a mapping beside a list": {
        "master": {"engines": [{"other": {}}]},
        "master.d/a.conf": {"engines": {"engine": {}}},
    },
    "k8s_nodes before another in the folder": {
        "master.d/10.conf": {"ext_pillar": [{"k8s_nodes": {}}]},
        "master.d/20.conf": {"ext_pillar": [{"git": ["x"]}]},
    },
    "lists in both, of which one is lost": {
        "master": {
            "ext_pillar": [{"git": ["x"]}],
            "engines": [{"other": {}}],
            "reactor": [{"salt/minion/*/start": ["/srv/start.sls"]}],
            "file_roots": {"base": ["/srv/states"], "dev": ["/srv/dev"]},
        },
        "master.d/k8s_nodes.conf": {
            "ext_pillar": [{"k8s_nodes": {}}],
            "engines": ["k8s_nodes"],
            "reactor": [{"salt/k8s_nodes/*/*": [REACT]}],
            "file_roots": {"base": [str(formula.path())]},
        },
    },
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("kube")) as found:
        yield found


class Folder:
    """The folder of a master's configuration."""

    def __init__(self, path: Path, layout: dict[str, dict]) -> None:
        self.path = path
        (path / "master.d").mkdir()
        main = {"root_dir": str(path), "sock_dir": str(path / "sock")}
        for name, values in {"master": {}, **layout}.items():
            self.write(path / name, {**(main if name == "master" else {}), **values})

    @staticmethod
    def write(path: Path, values: dict) -> None:
        path.write_text(yaml.safe_dump(values) if values else "")

    def opts(self) -> dict:
        found = salt.config.master_config(str(self.path / "master"))
        found["extension_modules"] = str(self.path / "extmods")
        return found

    def run(self, function: str, **arguments) -> dict:
        return salt.loader.runner(self.opts())[f"k8s_nodes.{function}"](**arguments)

    def paste(self, answer: dict) -> None:
        """Change the files as the answer says."""
        for name, text in answer["put"].items():
            path = Path(name)
            there = yaml.safe_load(path.read_text()) if path.exists() else {}
            self.write(path, {**(there or {}), **yaml.safe_load(text)})
        for name, keys in answer["take_out"].items():
            there = yaml.safe_load(Path(name).read_text())
            self.write(Path(name), {key: there[key] for key in there if key not in keys})


def given(backend) -> dict[str, str]:
    return {
        "server": backend.endpoint.url,
        "ca_file": str(backend.endpoint.ca_file),
        "token_file": str(backend.endpoint.tokens["reader"]),
        "allowed_networks": "192.0.2.0/24,198.51.100.0/24",
    }


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_configuration_loads_loses_nothing_and_passes_check(tmp_path, backend, layout):
    folder = Folder(tmp_path, layout)
    answer = json.loads(json.dumps(folder.run("setup", **given(backend))))
    folder.paste(answer)
    opts = folder.opts()
    assert list(config_files.findings(files_of(opts))) == []
    for values in layout.values():
        for key in ("ext_pillar", "reactor"):
            assert [one for one in values.get(key, []) if one not in opts[key]] == []
        for environment, roots in values.get("file_roots", {}).items():
            assert set(roots) <= set(opts["file_roots"][environment])
        engines = values.get("engines", [])
        listed = engines if isinstance(engines, list) else [{name: {}} for name in engines]
        assert [one for one in listed if one not in opts["engines"]] == []
    assert opts["ext_pillar"][-1] == {"k8s_nodes": {}}
    assert str(opts["reactor"]).count(REACT) in (1, 2)
    clusters = opts["k8s_nodes"]["clusters"]
    assert clusters["prod"]["allowed_networks"] == ["192.0.2.0/24", "198.51.100.0/24"]
    # A running engine, here with another state folder, and a view of the cluster.
    block = {**opts["k8s_nodes"], "state_dir": str(tmp_path / "state")}
    opts["k8s_nodes"] = block
    store = Store(str(tmp_path / "state"))
    one = member("n1", "192.0.2.1")
    store.snapshots.save(snapshot(one), [one], [])
    store.health.report("prod", Health(state="watching", reported_at=time.time()))
    store.health.minion_loop_seen(time.time())
    with engine_lock(tmp_path / "state" / ENGINE, threading.Event()):
        found = salt.loader.runner(opts)["k8s_nodes.check"]()
    wrong = [one for one in found["findings"] if one["level"] != "info"]
    # The process that plays the engine is older than the files.
    assert [one for one in wrong if "after the master started" not in one["what"]] == []
    # After that, setup has no changes.
    assert (lambda again: (again["put"], again["take_out"]))(folder.run("setup")) == ({}, {})


def test_a_second_cluster_is_added_and_the_first_one_stays(tmp_path, backend):
    folder = Folder(tmp_path, {})
    folder.paste(folder.run("setup", **given(backend)))
    folder.paste(folder.run("setup", cluster="test", kubeconfig="/etc/test.kubeconfig"))
    clusters = folder.opts()["k8s_nodes"]["clusters"]
    assert clusters["prod"]["server"] == backend.endpoint.url
    assert clusters["test"]["kubeconfig"] == "/etc/test.kubeconfig"
    assert "server" not in clusters["test"]


def test_a_list_of_reactions_in_a_file_of_its_own_is_moved(tmp_path, backend):
    start = {"salt/minion/*/start": ["/srv/start.sls"]}
    listed = tmp_path / "reactor.yaml"
    folder = Folder(tmp_path, {"master": {"reactor": str(listed)}})
    answer = folder.run("setup", **given(backend))
    # A long path is cut.
    assert answer["error"].startswith("reactor: '")
    assert "is not allowed; allowed: a list, or the path of a file" in answer["error"]
    listed.write_text(yaml.safe_dump([start]))
    answer = folder.run("setup", **given(backend))
    assert f"# {listed} is unused now: its list moved to the key reactor" in answer["steps"]
    folder.paste(answer)
    assert folder.opts()["reactor"][0] == start
    assert str(folder.opts()["reactor"]).count(REACT) == 2
    again = folder.run("setup")
    assert (again["put"], again["steps"]) == ({}, ["salt-run k8s_nodes.check"])


def test_a_master_of_masters_gets_no_engine(tmp_path, backend):
    folder = Folder(tmp_path, {"master": {"order_masters": True}})
    (text,) = folder.run("setup", **given(backend))["put"].values()
    assert set(yaml.safe_load(text)) == {"k8s_nodes", "file_roots"}


def test_the_class_for_sets_is_a_step_until_there_is_one(tmp_path, backend):
    folder = Folder(tmp_path, {})
    first = folder.run("setup", **given(backend))
    (line,) = [one for one in first["steps"] if "apply:classes" in one]
    assert line.startswith("# for minions with k8s_firewall in the pillar, below k8s_nodes:apply")
    folder.paste(first)
    (path,) = first["put"]
    values = yaml.safe_load(Path(path).read_text())
    written = yaml.safe_load(line.partition("classes: ")[2])
    assert written == {"sets": {"target": "TARGET", "function": "k8s_firewall.sync"}}
    values["k8s_nodes"]["apply"]["classes"] = written
    Path(path).write_text(yaml.safe_dump(values))
    more = folder.run("setup", cluster="test", kubeconfig="/etc/test.kubeconfig")
    assert more["put"]
    assert "apply:classes" not in str(more["steps"])


def test_missing_arguments_are_placeholders_and_check_finds_them(tmp_path):
    folder = Folder(tmp_path, {})
    answer = folder.run("setup")
    assert "replace the words in capitals: server and allowed_networks of prod" in str(
        answer["steps"]
    )
    folder.paste(answer)
    found = folder.run("check")["findings"]
    assert "k8s_nodes:clusters:prod:allowed_networks" in {one["where"] for one in found}


def test_a_terminal_gets_one_text_for_a_shell_and_for_salt(tmp_path, backend):
    folder = Folder(tmp_path, {"master": {"engines": [{"other": {}}]}})
    opts = folder.opts()
    opts["fun"] = "k8s_nodes.setup"
    text = salt.loader.runner(opts)["k8s_nodes.setup"](**given(backend))
    assert f"# ---- {tmp_path}/master.d/k8s_nodes.conf: a new file\nk8s_nodes:\n" in text
    assert f"# ---- {tmp_path}/master: replace these keys as a whole\nengines:" in text
    _, _, rest = text.partition("# ---- on each cluster\n")
    assert rest.startswith("kubectl apply -f - <<'END'\napiVersion: v1\n")
    *_, restart, check = rest.splitlines()
    assert shlex.split(restart)[:2] == ["systemctl", "restart"]
    assert shlex.split(check) == ["salt-run", "k8s_nodes.check"]


def test_the_documentation_has_the_manifest_that_is_printed():
    assert rbac_manifest.MANIFEST in (ROOT / "docs" / "installation.md").read_text()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    if reason := unavailable():
        pytest.skip(reason)
    with open_backend("real", tmp_path_factory.mktemp("kube")) as found:
        yield found


_WHERE = {
    "ServiceAccount": "/api/v1/namespaces/kube-system/serviceaccounts",
    "Secret": "/api/v1/namespaces/kube-system/secrets",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


@pytest.mark.kube_real
def test_the_manifest_gives_the_engine_what_it_needs_and_nothing_else(real, tmp_path):
    admin = real.client("admin")
    for document in yaml.safe_load_all(rbac_manifest.MANIFEST):
        answer = admin.request("POST", _WHERE[document["kind"]], document)
        assert answer.status == 201, answer.body
    # No controller fills the Secret here: request the same token.
    account = f"{_WHERE['ServiceAccount']}/{rbac_manifest.NAME}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = admin.request("POST", account, request)
    assert answer.status == 201, answer.body
    token = tmp_path / "token"
    token.write_text(answer.json()["status"]["token"])
    access = ClusterAccess(
        server=real.endpoint.url, ca_file=str(real.endpoint.ca_file), token_file=str(token)
    )
    deadline = time.monotonic() + 60
    while not all((found := preflight(access)).permissions[right] for right in REQUIRED):
        assert time.monotonic() < deadline, found.permissions
    assert not found.permissions[CLUSTER_ADMIN]
    assert found.credential_lifetime is not None
    assert not found.credential_lifetime.expires_soon(time.time())
    api = NodesApi(Session(access))
    assert api.identity()
    watch = api.watch(api.list_page(10, "").resource_version, 60, 30)
    next(watch)
    nodes = Nodes(real.endpoint)
    nodes.create("n1")
    seen = next(event for event in watch if isinstance(event, NodeChanged))
    assert seen.node.name == "n1"
    watch.close()
    nodes.close()
    admin.close()
