"""``python -m lab``: run one command, and print its failure as a sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lab.cli import screen
from lab.cli.parser import parser, separated
from lab.errors import LabError, MachineUnfit
from lab.kubernetes.backend import BackendError
from lab.kubernetes.client import ApiError
from lab.world import prerequisites


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 2 when this machine lacks a prerequisite, 1 when the command failed."""
    given = parser().parse_args(separated(list(sys.argv[1:] if argv is None else argv)))
    try:
        if os.geteuid() != 0 and (reason := prerequisites.unmet()):
            raise MachineUnfit(reason)
        code: int = given.run(given)
    except MachineUnfit as exc:
        screen.fail(f"The lab cannot run on this machine: {exc}")
        return 2
    except (LabError, BackendError, ApiError) as exc:
        screen.fail(str(exc))
        return 1
    return code
