"""Writes the metrics for node_exporter's textfile collector."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from salt_ext.core.metrics import Sample, exposition


def write(path: Path, samples: Iterable[Sample]) -> None:
    """
    Replace the file in one step, so that no reader sees half of it.

    Its mode is 0644, since node_exporter does not run as root. Raises :class:`OSError`.
    """
    text = "".join(f"{line}\n" for line in exposition(samples))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
