"""What can go wrong in the lab, named after what the caller can do about it."""

from __future__ import annotations

from collections.abc import Sequence


class LabError(Exception):
    """The lab cannot do what was asked; the sentence says why."""


class MachineUnfit(LabError):
    """This machine cannot run a lab until somebody installs or allows something."""


class WorldExists(LabError):
    """A world of that name is running, or was left behind."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"the world {self.name!r} exists already: `python -m lab status --name {self.name}`"
            f" shows it, `python -m lab down --name {self.name}` removes it"
        )


class NoSuchWorld(LabError):
    """There is no world of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no world {self.name!r}: `python -m lab up --name {self.name}` makes it"


class HalfMade(LabError):
    """Making a world, or removing it, was broken off."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"the world {self.name!r} was left half made:"
            f" `python -m lab down --name {self.name}` removes it"
        )


class TookTooLong(LabError):
    """Something that was waited for did not happen in time."""


class CommandFailed(LabError):
    """A command in the lab ended with another exit code than 0."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(argv, code, output)
        self.argv = tuple(argv)
        self.code = code
        self.output = output

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} ended with {self.code}: {self.output.strip()}"
