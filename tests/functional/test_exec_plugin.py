"""Exec plugins: their credentials are used, and each failure is described."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from pathlib import Path

import pytest

from lab.kubernetes import open_backend
from lab.kubernetes.emulator import actions
from salt_ext.core.config import config
from salt_ext.kube.errors import BadCredentials, Unauthorized
from salt_ext.kube.session import Session
from salt_ext.watch.updates import Failed, Replaced
from salt_ext.watch.watcher import ClusterWatcher
from tests.functional.kube_access import ask, kubeconfig, plugin


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("kube")) as found:
        yield found


@pytest.fixture(autouse=True)
def seen(backend):
    """Users of the requests that the API server received in this test."""
    backend.control.clear()
    backend.control.forget_requests()
    return lambda: [request.user for request in backend.control.requests()]


def runs(folder: Path) -> int:
    """Return how often a counted plugin ran."""
    file = folder / "runs"
    return len(file.read_text()) if file.exists() else 0


def counted(folder: Path, body: str) -> str:
    return f"open({str(folder / 'runs')!r}, 'a').write('x')\n{body}"


def refusal(access) -> str:
    with pytest.raises(BadCredentials) as caught:
        ask(Session(access))
    return str(caught.value)


def test_the_token_is_used_until_it_expires(backend, tmp_path, seen):
    token = backend.endpoint.token("reader")
    body = counted(tmp_path, f"say(token={token!r}, expirationTimestamp=os.environ['UNTIL'])")
    later = [{"name": "UNTIL", "value": "2999-01-01T00:00:00Z"}]
    session = Session(kubeconfig(tmp_path, backend, plugin(tmp_path, body, env=later)))
    ask(session)
    ask(session)
    assert runs(tmp_path) == 1
    past = [{"name": "UNTIL", "value": "2020-01-01T00:00:00+02:00"}]
    session = Session(kubeconfig(tmp_path, backend, plugin(tmp_path, body, env=past)))
    ask(session)
    ask(session)
    assert runs(tmp_path) == 3
    assert seen() == ["reader"] * 4


def test_a_lifetime_is_counted_on_the_monotonic_clock(backend, tmp_path, monkeypatch):
    token = backend.endpoint.token("reader")
    body = counted(
        tmp_path,
        f"""
from datetime import datetime, timedelta, timezone
until = datetime.now(timezone.utc) + timedelta(minutes=15)
say(token={token!r}, expirationTimestamp=until.isoformat())
""",
    )
    session = Session(kubeconfig(tmp_path, backend, plugin(tmp_path, body)))
    ask(session)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 880)
    ask(session)
    assert runs(tmp_path) == 1
    monkeypatch.setattr(time, "monotonic", lambda: now + 901)
    ask(session)
    assert runs(tmp_path) == 2


def test_the_plugin_runs_again_after_its_token_was_refused(backend, tmp_path, seen):
    token = backend.endpoint.token("reader")
    body = counted(tmp_path, f"say(token={token!r})")
    session = Session(kubeconfig(tmp_path, backend, plugin(tmp_path, body)))
    backend.control.on(do=actions.respond(401))
    with pytest.raises(Unauthorized, match=f"credentials from exec plugin {tmp_path}/plugin"):
        ask(session)
    ask(session)
    assert runs(tmp_path) == 2
    assert seen() == ["reader"] * 2


@pytest.fixture
def typed():
    """Put text into this process's standard input, which a plugin must not read."""
    kept = os.dup(0)
    reader, writer = os.pipe()
    os.write(writer, b"typed")
    os.close(writer)
    os.dup2(reader, 0)
    os.close(reader)
    yield
    os.dup2(kept, 0)
    os.close(kept)


def test_a_plugin_gets_its_arguments_environment_and_cluster(
    backend, tmp_path, seen, monkeypatch, typed
):
    monkeypatch.setenv("FROM_OUTSIDE", "kept")
    body = f"""
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
message = {{"args": sys.argv[1:], "own": os.environ["OWN"], "outside": os.environ["FROM_OUTSIDE"],
        "info": info, "input": sys.stdin.read()}}
open({str(tmp_path / "input")!r}, "w").write(json.dumps(message))
say(token={backend.endpoint.token("reader")!r})
"""
    user = plugin(
        tmp_path,
        body,
        args=["a b", "$(touch no)", "*"],
        env=[{"name": "OWN", "value": "yes"}],
        interactiveMode="IfAvailable",
        provideClusterInfo=True,
        apiVersion="client.authentication.k8s.io/v1beta1",
    )
    user["exec"]["command"] = "./plugin"  # relative to the kubeconfig
    name = "client.authentication.k8s.io/exec"
    cluster = {"extensions": [{"name": name, "extension": {"audience": "x"}}]}
    ask(Session(kubeconfig(tmp_path, backend, user, cluster=cluster)))
    message = json.loads((tmp_path / "input").read_text())
    assert message["args"] == ["a b", "$(touch no)", "*"]
    assert (message["own"], message["outside"], message["input"]) == ("yes", "kept", "")
    spec = message["info"]["spec"]
    assert spec["interactive"] is False
    assert spec["cluster"]["server"] == backend.endpoint.url
    assert spec["cluster"]["config"] == {"audience": "x"}
    assert "BEGIN CERTIFICATE" not in spec["cluster"]["certificate-authority-data"]
    assert seen() == ["reader"]


def test_a_command_without_a_slash_is_found_in_the_path(backend, tmp_path, seen, monkeypatch):
    user = plugin(tmp_path, f"say(token={backend.endpoint.token('reader')!r})", command="plugin")
    access = kubeconfig(tmp_path, backend, user)
    message = refusal(access)
    assert message == "exec plugin plugin: cannot start: No such file or directory"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    ask(Session(access))
    assert seen() == ["reader"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('Token expired\\nplease log in\\n\\n')", "exit status 1: please log in"),
        ("sys.exit(3)", "exit status 3; no output on stderr"),
        ("os.kill(os.getpid(), 15)", "killed by signal 15; no output on stderr"),
        ("sys.exit('no\\x1b[31m way \\x07' + 'x' * 500)", "exit status 1: no[31m way " + "x" * 185),
        ("sys.exit('denied: ' + os.environ['KEY'])", "exit status 1: denied: ..."),
        ("print('sesame')", "printed no valid ExecCredential: JSON is malformed"),
        ("print('[]')", "printed no valid ExecCredential: Expected `object`, got `array`"),
        ("pass", "printed no valid ExecCredential: Input data was truncated"),
        ("say()", "printed neither a token nor a client certificate"),
        ("say(token='')", "printed neither a token nor a client certificate"),
        ("say(token='open\\nsesame')", "not a valid token: it contains spaces"),
        ("say(token=7)", "got `int` - at `$.status.token`"),
        ("say(token='t', expirationTimestamp='x')", "Invalid RFC3339 encoded datetime"),
        ("say(clientCertificateData='x')", "a client certificate or a key, but not both"),
        ("say(clientCertificateData='x', clientKeyData='y')", "certificate and key cannot be read"),
        ("print(json.dumps(dict(kind='Status', apiVersion='v1')))", "another object than an Exec"),
        (
            "print(json.dumps(dict(kind='ExecCredential', apiVersion='v1')))",
            "another object than an ExecCredential of client.authentication.k8s.io/v1",
        ),
        (
            (
                "print(json.dumps(dict(kind='ExecCredential', "
                "apiVersion='client.authentication.k8s.io/v1')))"
            ),
            "without a status",
        ),
    ],
)
def test_a_failing_plugin_is_an_error_and_nothing_is_sent(
    backend, tmp_path, seen, body, message, caplog
):
    user = plugin(tmp_path, body, env=[{"name": "KEY", "value": "sesame"}])
    found = refusal(kubeconfig(tmp_path, backend, user))
    assert message in found
    assert "sesame" not in found + caplog.text
    assert found.startswith((f"exec plugin {tmp_path}/plugin: ", f"{tmp_path}/kubeconfig: "))
    assert seen() == []


def test_the_install_hint_of_a_missing_plugin_is_shown(backend, tmp_path):
    user = plugin(tmp_path, "", installHint="get it from https://example.org\nand so on")
    (tmp_path / "plugin").unlink()
    message = refusal(kubeconfig(tmp_path, backend, user))
    assert message.endswith(
        "cannot start: No such file or directory (get it from https://example.org)"
    )


def test_a_plugin_that_hangs_is_killed_with_its_children(backend, tmp_path, seen):
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "1000"])
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
print("waiting for the browser", file=sys.stderr, flush=True)
child.wait()
"""
    access = kubeconfig(tmp_path, backend, plugin(tmp_path, body), exec_timeout=5.0)
    message = refusal(access)
    assert message == (
        f"exec plugin {tmp_path}/plugin: timed out after 5 s and was killed: "
        "waiting for the browser"
    )
    assert seen() == []
    for pid in (tmp_path / "pids").read_text().split():
        assert gone(int(pid))


def test_a_background_process_of_a_plugin_delays_no_request(backend, tmp_path, seen):
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "1000"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
say(token={backend.endpoint.token("reader")!r})
"""
    access = kubeconfig(tmp_path, backend, plugin(tmp_path, body), exec_timeout=60.0)
    ask(Session(access))
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert seen() == ["reader"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"interactiveMode": "Always"}, "interactiveMode: Always, but no terminal is available"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1'; supported: client."),
        ({"command": None}, "Expected `str`, got `null` - at `$.users[0].user.exec.command`"),
        ({"args": ["a\0b"]}, "a zero byte"),
    ],
)
def test_an_unsupported_exec_section_is_refused_without_running_it(
    backend, tmp_path, section, message
):
    user = plugin(tmp_path, counted(tmp_path, "say(token='t')"), **section)
    assert message in refusal(kubeconfig(tmp_path, backend, user))
    assert runs(tmp_path) == 0


def test_a_token_wins_over_a_plugin(backend, tmp_path, seen):
    user = {"token": backend.endpoint.token("reader"), **plugin(tmp_path, counted(tmp_path, ""))}
    ask(Session(kubeconfig(tmp_path, backend, user)))
    assert seen() == ["reader"]
    assert runs(tmp_path) == 0


def test_a_watcher_survives_a_plugin_that_fails(backend, tmp_path, seen):
    body = f"""
if not os.path.exists({str(tmp_path / "login")!r}):
    sys.exit("not logged in")
say(token={backend.endpoint.token("reader")!r})
"""
    access = kubeconfig(tmp_path, backend, plugin(tmp_path, body))
    settings = config.read(
        {
            "clusters": {
                "prod": {
                    "kubeconfig": access.kubeconfig,
                    "exec_timeout": 60,
                    "allowed_networks": ["192.0.2.0/24"],
                }
            }
        }
    )
    updates, stop = queue.Queue(), threading.Event()
    watcher = ClusterWatcher(settings.clusters["prod"], updates, stop)
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    try:
        failed = updates.get(timeout=60)
        assert isinstance(failed, Failed)
        assert failed.error == f"exec plugin {tmp_path}/plugin: exit status 1: not logged in"
        assert seen() == []
        (tmp_path / "login").touch()
        while isinstance(update := updates.get(timeout=60), Failed):
            pass
        assert isinstance(update, Replaced)
        assert set(seen()) == {"reader"}
    finally:
        stop.set()
        watcher.request_list()
        thread.join(60)
    assert not thread.is_alive()


def gone(pid: int) -> bool:
    """Whether a process has ended; its parent may not have collected it yet."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        os.sched_yield()
    return False
