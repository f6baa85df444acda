"""A token behind an ``sdb://`` URI, looked up with Salt's own configuration."""

from __future__ import annotations

import logging
import queue
import threading

import pytest
import salt.config
import yaml

from lab.kubernetes import open_backend
from lab.kubernetes.nodes import Nodes
from salt_ext.admin.status import status
from salt_ext.core.config.access import ClusterAccess
from salt_ext.core.errors import NoSecret
from salt_ext.daemon.engine import Engine
from salt_ext.kube.errors import BadCredentials, Unauthorized
from salt_ext.kube.session import Session
from salt_ext.master.secrets import SecretResolver
from salt_ext.master.settings import engine_settings, settings
from salt_ext.store import Store
from salt_ext.watch.watcher import ClusterWatcher
from tests.functional.kube_access import ask
from tests.functional.pillars import Pillars


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("kube")) as found:
        yield found


class Master:
    """A master's configuration in files, with a file of secrets that its ``sdb`` reads."""

    def __init__(self, folder, backend) -> None:
        self.folder = folder
        self.backend = backend
        self.secrets = folder / "secrets.yml"
        (folder / "master.d").mkdir()
        self.keep(backend.endpoint.token("reader"))

    def keep(self, token: str) -> None:
        self.secrets.write_text(yaml.safe_dump({"prod": token, "list": ["a"]}))

    def opts(self, *, main=None, **cluster):
        """
        Read the configuration with our block in master.d, as the daemon does.

        None removes a key of the cluster.
        """
        given = {
            "server": self.backend.endpoint.url,
            "ca_file": str(self.backend.endpoint.ca_file),
            "allowed_networks": ["192.0.2.0/24"],
            **cluster,
        }
        given = {key: value for key, value in given.items() if value is not None}
        block = {"state_dir": str(self.folder / "state"), "clusters": {"prod": given}}
        files = {"driver": "yaml", "files": [str(self.secrets)]}
        (self.folder / "master.d" / "k8s.conf").write_text(yaml.safe_dump({"k8s_nodes": block}))
        (self.folder / "master").write_text(
            yaml.safe_dump({"root_dir": str(self.folder), "kept": files, **(main or {})})
        )
        return salt.config.master_config(str(self.folder / "master"))


@pytest.fixture
def master(tmp_path, backend):
    return Master(tmp_path, backend)


def test_the_uri_outlives_salts_own_resolving(master):
    opts = master.opts(token="sdb://kept/prod")
    assert opts["k8s_nodes"]["clusters"]["prod"]["token"] == master.backend.endpoint.token("reader")
    for read in (settings, engine_settings):
        config = read(opts)
        assert config.problems == ()
        assert config.clusters["prod"].access.token == "sdb://kept/prod"


def test_the_uri_is_found_in_an_included_file_too(master):
    opts = master.opts(
        token="sdb://kept/prod", main={"default_include": "none/*", "include": "*.d/*"}
    )
    assert settings(opts).clusters["prod"].access.token == "sdb://kept/prod"


def test_a_rotated_token_is_looked_up_again(master, backend):
    opts = master.opts(token="sdb://kept/prod")
    access = settings(opts).clusters["prod"].access
    session = Session(access, SecretResolver(opts))
    ask(session)
    backend.rotate("reader")
    with pytest.raises(Unauthorized, match=r"401 .*; credentials from sdb://kept/prod"):
        ask(session)
    master.keep(backend.endpoint.token("reader"))
    ask(session)


def test_a_token_that_is_written_out_is_refused_and_not_shown(master, caplog):
    caplog.set_level(logging.DEBUG)
    config = settings(master.opts(token="open-sesame"))
    (problem,) = config.problems
    assert str(problem).startswith(
        "k8s_nodes:clusters:prod:token: '(not shown)' is not allowed; allowed: an sdb:// URI"
    )
    assert "prod" in config.broken
    assert "sesame" not in f"{config!r} {config.problems} {caplog.text}"


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"token": "sdb://kept/prod", "token_file": "/t"}, "only without token_file"),
        ({"token": 12345}, "an sdb:// URI such as"),
        ({"token": "sdb://kept"}, "an sdb:// URI such as"),
        (
            {"token": "open-sesame", "server": None, "in_cluster": True, "ca_file": None},
            "an sdb://",
        ),
    ],
)
def test_a_token_is_a_uri_and_alone(master, cluster, message):
    problems = [str(problem) for problem in settings(master.opts(**cluster)).problems]
    assert any(":token: '(not shown)'" in line and message in line for line in problems)
    assert "sesame" not in str(problems)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sdb://kept/none", "has no value"),
        ("sdb://kept/list", "has a list, not text"),
        ("sdb://nowhere/prod", 'SDB profile "nowhere"'),
        ("sdb://broken/prod", "its sdb driver failed"),
    ],
)
def test_a_missing_secret_is_an_error(master, uri, why):
    opts = master.opts(token_file="/t", main={"broken": {"driver": "no_such_driver"}})
    with pytest.raises(NoSecret, match=why):
        SecretResolver(opts)(uri)
    access = ClusterAccess(
        server=master.backend.endpoint.url, token=uri, insecure_skip_tls_verify=True
    )
    with pytest.raises(BadCredentials, match=f"^{uri}: .*{why}"):
        ask(Session(access, SecretResolver(opts)))


def test_an_engine_without_verification_says_so_at_each_start_and_in_status(master, caplog):
    opts = master.opts(token="sdb://kept/prod", ca_file=None, insecure_skip_tls_verify=True)
    config = settings(opts)
    assert config.problems == ()
    stop = threading.Event()
    stop.set()
    ClusterWatcher(config.clusters["prod"], queue.Queue(), stop).run()
    (record,) = [one for one in caplog.records if "is not verified" in one.getMessage()]
    assert (record.levelname, record.getMessage()[:14]) == ("WARNING", "cluster prod: ")
    message = status(config, Store(config.state_dir))
    assert "insecure_skip_tls_verify: true" in message["clusters"]["prod"]["warnings"][0]


def test_a_verified_cluster_has_no_warnings(master):
    config = settings(master.opts(token="sdb://kept/prod"))
    assert status(config, Store(config.state_dir))["clusters"]["prod"]["warnings"] == []


def test_engine_and_ext_pillar_look_the_secret_up_in_salt(master, backend, tmp_path):
    opts = master.opts(token="sdb://kept/prod")
    engine = Engine(opts)
    workers = engine._cluster_workers(engine._config.clusters["prod"], threading.Event())
    ask(workers["watcher"]._session)
    Nodes(backend.endpoint).create("n1", internal=["192.0.2.1"])
    pillars = Pillars(
        tmp_path,
        clusters=opts["k8s_nodes"]["clusters"],
        conf_file=opts["conf_file"],
        kept=opts["kept"],
        ext_pillar=[{"k8s_nodes": {"fetch": True}}],
    )
    pillars.write({"allow": ["k8s://prod"]})
    assert pillars.compile()["allow"] == ["192.0.2.1"]
