"""One run at a time on a minion, whatever ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from k8s_firewall_parts import state_dir

MODULES = str(Path(state_dir.__file__).parents[1])

RUN = """
import sys
from k8s_firewall_parts import programs
from k8s_firewall_parts.state_dir import StateDir
with StateDir(sys.argv[1]).locked():
    programs.run(["sh", "-c", 'echo at work >"$0"; read word <"$1"', *sys.argv[2:]])
"""


def test_what_a_killed_run_left_at_work_keeps_the_next_one_waiting(tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"
    for path in (begun, go_on):
        os.mkfifo(path)
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), str(begun), str(go_on)],
        env={"PYTHONPATH": MODULES},
    )
    assert begun.read_text() == "at work\n"
    run.kill()
    run.wait()
    inside = threading.Event()

    def next_run() -> None:
        with state_dir.StateDir(str(tmp_path)).locked():
            inside.set()

    waiting = threading.Thread(target=next_run)
    waiting.start()
    try:
        assert not inside.wait(0.3)
    finally:
        go_on.write_text("end\n")
        waiting.join()
    assert inside.is_set()
