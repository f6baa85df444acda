"""The errors of the lab, named after what the caller can do about them."""

from __future__ import annotations

from collections.abc import Sequence


class LabError(Exception):
    """The lab cannot carry out the command; the sentence says why."""


class MachineUnfit(LabError):
    """This machine lacks something that the lab needs; the sentence says what."""


class WorldExists(LabError):
    """A world of that name runs, or a part of it is left."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"the world {self.name!r} exists already: `python -m lab status --name {self.name}`"
            f" shows it, `python -m lab down --name {self.name}` removes it"
        )


class NoSuchWorld(LabError):
    """No world has that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no world {self.name!r}: `python -m lab up --name {self.name}` creates it"


class IncompleteWorld(LabError):
    """The provisioning of a world, or its removal, was interrupted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"the world {self.name!r} is incomplete:"
            f" `python -m lab down --name {self.name}` removes it"
        )


class TookTooLong(LabError):
    """An expected event did not happen in time."""


class CommandFailed(LabError):
    """A command in the lab ended with another exit code than 0."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(argv, code, output)
        self.argv = tuple(argv)
        self.code = code
        self.output = output

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} ended with {self.code}: {self.output.strip()}"
