"""
The emulator as a program of its own, started and driven as docs/lab.md says.
"""

from __future__ import annotations

import http.client
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config, watch

ROOT = Path(__file__).parents[3]
SECTION = "## Test your own watcher against the emulator"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _python(command: str) -> str:
    return command.replace("python -m", f"{shlex.quote(sys.executable)} -m")


def start(
    *options: str, command: str = _python("python -m lab.kubernetes.emulator")
) -> subprocess.Popen:
    return subprocess.Popen(
        [*shlex.split(command), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process: subprocess.Popen) -> dict[str, str]:
    """What the emulator prints when it is ready."""
    assert process.stdout is not None
    title = process.stdout.readline()
    assert title == "The emulator is ready. Stop it with Ctrl-C.\n"
    found = {}
    while "control" not in found:
        name, value = process.stdout.readline().split(maxsplit=1)
        found[name] = value.strip()
    return found


class Documented:
    """The commands of docs/lab.md, with a folder and a port of this test's own."""

    def __init__(self, folder: Path) -> None:
        text = (ROOT / "docs" / "lab.md").read_text()
        section = text.partition(SECTION)[2].partition("\n## ")[0]
        section = section.replace("/tmp/emulator", str(folder)).replace("6443", str(_free_port()))
        blocks = re.findall(r"```(sh|python)\n(.*?)```", section, re.DOTALL)
        self.start, *self.shell = [_python(code) for kind, code in blocks if kind == "sh"]
        (self.python,) = [code for kind, code in blocks if kind == "python"]


@pytest.fixture
def documented(tmp_path: Path) -> Documented:
    return Documented(tmp_path / "emulator")


@pytest.fixture
def emulator(documented: Documented) -> Iterator[subprocess.Popen]:
    process = start(command=documented.start)
    yield process
    process.kill()
    process.communicate()


def test_the_documented_commands_do_what_the_page_says(
    emulator: subprocess.Popen, documented: Documented
) -> None:
    where = printed(emulator)
    listing, faults = documented.shell
    done = subprocess.run(
        ["bash", "-c", f"{listing}\n{faults}\nwait"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, *lines = done.stdout.splitlines()
    assert [one["metadata"]["name"] for one in json.loads(first)["items"]] == [
        "node1", "node2", "node3",
    ]  # fmt: skip
    events = [json.loads(one) for one in lines if one.endswith("}}") and '{"type"' in one]
    seen = [(one["type"], one["object"]["metadata"]["name"]) for one in events]
    assert seen == [
        ("ADDED", "node1"), ("ADDED", "node2"), ("ADDED", "node3"), ("DELETED", "node2"),
    ]  # fmt: skip
    assert "transfer closed" in done.stderr  # the cut watch
    assert '"verb": "list"' in done.stdout

    exec(compile(documented.python, "docs/lab.md", "exec"), {})
    api = client.CoreV1Api(config.new_client_from_config(where["kubeconfig"].split(" (")[0]))
    for _ in range(2):
        with pytest.raises(client.ApiException) as refused:
            api.list_node()
        assert refused.value.status == 503
    nodes = api.list_node()
    assert [one.metadata.name for one in nodes.items] == ["node1", "node3"]
    stream = watch.Watch().stream(api.list_node, resource_version="0", _request_timeout=1)
    assert next(stream)["type"] == "ADDED"
    with pytest.raises(Exception, match="Read timed out"):
        next(stream)  # frozen after one event, as the example in Python has it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_removes_its_temporary_folder(number: signal.Signals) -> None:
    process = start("--node", "db=192.0.2.7,2001:db8::7")
    where = printed(process)
    folder = Path(where["control"]).parent
    assert folder.parent == Path(tempfile.gettempdir())
    api = client.CoreV1Api(config.new_client_from_config(where["kubeconfig"].split(" (")[0]))
    (node,) = api.list_node().items
    assert [one.address for one in node.status.addresses] == ["192.0.2.7", "2001:db8::7", "db"]
    stream = watch.Watch().stream(api.list_node)
    next(stream)  # an open watch does not keep it from ending
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert not folder.exists()


def test_the_next_start_in_a_folder_goes_on_with_its_nodes_and_tokens(tmp_path: Path) -> None:
    versions = []
    for count in ("2", "3"):
        process = start("--folder", str(tmp_path), "--nodes", count, "--http", "--token", "secret")
        address = printed(process)["URL"].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/api/v1/nodes", headers={"Authorization": "Bearer secret"})
        nodes = json.loads(connection.getresponse().read())["items"]
        versions.append({one["metadata"]["name"]: one["metadata"]["uid"] for one in nodes})
        process.terminate()
        process.communicate(timeout=10)
    first, second = versions
    assert list(second) == ["node1", "node2", "node3"]
    assert first.items() <= second.items()


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start("--port", str(port))
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith(f"cannot serve https://127.0.0.1:{port}: Address")
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", [["--node", "db"], ["--node", "db=here"]])
def test_a_node_that_cannot_be_read_is_refused_with_the_reason(option: list[str]) -> None:
    process = start(*option)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "argument --node" in errors


def test_it_needs_neither_salt_nor_the_extension() -> None:
    script = (
        "import sys, lab.kubernetes.emulator.__main__, lab.kubernetes.emulator.ctl\n"
        "print([one for one in sys.modules if one.split('.')[0] in ('salt', 'salt_ext', 'rich')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_both_helps_name_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from lab.kubernetes.emulator import arguments, ctl
    from lab.kubernetes.emulator.control_server import Commands

    for show in (arguments.parse, ctl.main):
        with pytest.raises(SystemExit):
            show(["--help"])
    text = capsys.readouterr().out
    internal = {"write_state", "wait_for_requests", "reload_tokens", "tune"}
    commands = {name for name in vars(Commands) if not name.startswith("_")}
    assert [name for name in commands - internal if not re.search(rf"\b{name}\b", text)] == []
