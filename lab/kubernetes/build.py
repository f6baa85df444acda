"""
Build the real kube-apiserver and etcd of the lab, once, into a cache folder that git ignores.

``python -m lab.kubernetes.build`` says what it does while it does it. What is built is pinned by
``apiserver/go.mod``; the folder is replaced as a whole, so a build that dies leaves nothing half
done, and two builds at once wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MODULE = Path(__file__).parent / "apiserver"
CACHE = Path(__file__).parents[2] / ".cache" / "kubernetes"
PROGRAMS = ("kube-apiserver", "etcd")
PROGRESS_SECONDS = 15.0

Progress = Callable[[str], None]


class BuildError(Exception):
    """The real back end cannot be built here; the text says why."""


def version() -> str:
    """The Kubernetes release that is built, as in ``v1.37.2``."""
    match = re.search(
        r"^\s*k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE
    )
    if match is None:
        raise BuildError(f"{MODULE / 'go.mod'} does not require k8s.io/kubernetes")
    return match[1]


def folder() -> Path:
    return CACHE / version()


def is_built() -> bool:
    """
    Whether the cache holds what the module asks for now (a changed go.mod means: build again).
    """
    stamp = folder() / "stamp"
    programs = all((folder() / program).is_file() for program in PROGRAMS)
    return programs and stamp.is_file() and stamp.read_text() == _fingerprint()


def obstacle() -> str | None:
    """Why it cannot be built on this machine, or None."""
    if shutil.which("go") is None:
        return "Go is not installed"
    # Asked inside the module, where Go says what it would really use (it may switch toolchains).
    answer = subprocess.run(
        ["go", "env", "GOVERSION"],
        cwd=MODULE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if answer.returncode != 0:
        return f"Go does not start: {answer.stderr.strip()}"
    wanted = re.search(r"^go (\d+)\.(\d+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    found = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    if wanted is None or found is None or _numbers(found) < _numbers(wanted):
        return (
            f"Go is {answer.stdout.strip()}, and {version()} needs {wanted[0] if wanted else '?'}"
        )
    return None


def build(progress: Progress = print) -> Path:
    """Return the folder with both programs, building them first where necessary."""
    if is_built():
        return folder()
    if reason := obstacle():
        raise BuildError(f"kube-apiserver {version()} cannot be built: {reason}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with _only_one(CACHE / "lock", progress):
        if not is_built():
            _build(progress)
    return folder()


def _build(progress: Progress) -> None:
    begin = time.monotonic()
    progress(
        f"building kube-apiserver {version()} and etcd: "
        "about 7 minutes on 2 cores the first time, more if they are busy"
    )
    with tempfile.TemporaryDirectory(prefix="building-", dir=CACHE) as name:
        fresh = Path(name) / "fresh"
        fresh.mkdir()
        _go(["mod", "download"], "downloading modules", progress, begin)
        _go(
            [
                "build",
                "-v",
                "-p",
                "2",
                "-trimpath",
                "-ldflags",
                _ldflags(),
                "-o",
                str(fresh),
                "./cmd/...",
            ],
            "compiling",
            progress,
            begin,
        )
        (fresh / "stamp").write_text(_fingerprint())
        if folder().exists():
            folder().rename(Path(name) / "old")
        fresh.rename(folder())
    progress(f"built {folder()} in {_clock(begin)}")


def _go(arguments: list[str], what: str, progress: Progress, begin: float) -> None:
    """Run Go in the module; the lines that it prints are counted, and shown only if it fails."""
    environment = {**os.environ, "CGO_ENABLED": "0"}
    process = subprocess.Popen(
        ["go", *arguments],
        cwd=MODULE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                count = f", {len(lines)} packages so far" if arguments[0] == "build" else ""
                progress(f"  {_clock(begin)}: {what}{count}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    reader.join(10)
    if process.returncode != 0:
        raise BuildError(f"go {arguments[0]} failed:\n{''.join(lines[-20:])}")


def _ldflags() -> str:
    # An unstamped binary calls itself v0.0.0, which clients take for a very old server.
    package = "k8s.io/component-base/version"
    major, minor = version().removeprefix("v").split(".")[:2]
    values = {
        "gitVersion": version(),
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    return " ".join(["-s", "-w", *(f"-X {package}.{key}={value}" for key, value in values.items())])


def _fingerprint() -> str:
    sources = [MODULE / "go.mod", MODULE / "go.sum", *sorted(MODULE.glob("cmd/*/*.go"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@contextlib.contextmanager
def _only_one(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another build is under way, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _numbers(match: re.Match[str]) -> tuple[int, int]:
    return int(match[1]), int(match[2])


def _clock(begin: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - begin), 60)
    return f"{minutes} min {seconds:02} s"


if __name__ == "__main__":
    try:
        print(build(lambda text: print(text, flush=True)))
    except BuildError as error:
        sys.exit(str(error))
