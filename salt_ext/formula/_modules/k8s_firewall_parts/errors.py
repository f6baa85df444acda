"""What can go wrong, one class for each thing that the caller can do about it."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_OUTPUT = 400


def printable(text: str) -> str:
    """Return text that was decoded with ``surrogateescape`` in a form that can be encoded again."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class FirewallError(Exception):
    """The step was not done; the message says why."""


class Refused(FirewallError):
    """The input is incomplete, wrong or outdated; the firewall stays as it is."""


class Busy(FirewallError):
    """Another run holds the lock."""


class MissingProgram(FirewallError):
    """A required program is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(program)
        self.program = program

    def __str__(self) -> str:
        return f"the program {self.program} is not installed on this minion"


class CommandFailed(FirewallError):
    """A program exited with an error; the message has its output."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(argv, code, output)
        self.argv = tuple(argv)
        self.code = code
        self.output = output

    def __str__(self) -> str:
        output = printable(" ".join(self.output.split()))
        if len(output) > _MAX_OUTPUT:
            output = f"{output[:_MAX_OUTPUT]} ..."
        return f"{' '.join(self.argv)}: {output or f'exit code {self.code}'}"
