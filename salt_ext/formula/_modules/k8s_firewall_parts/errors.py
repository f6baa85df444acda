"""What can go wrong, by what the caller can do about it."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 400


def readable(text: str) -> str:
    """Return text that was read byte by byte in a form that anybody can write."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class FirewallError(Exception):
    """Nothing of what was asked for is done; the sentence says why."""


class Refused(FirewallError):
    """What is asked for is not whole, or is older than what is in force, which stays."""


class Busy(FirewallError):
    """Another run holds the lock."""


class Missing(FirewallError):
    """A program that is needed is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(program)
        self.program = program

    def __str__(self) -> str:
        return f"the program {self.program} is not installed on this minion"


class CommandFailed(FirewallError):
    """A program of the kernel's firewall refused; it says what."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(argv, code, output)
        self.argv = tuple(argv)
        self.code = code
        self.output = output

    def __str__(self) -> str:
        said = readable(" ".join(self.output.split()))
        if len(said) > _LONGEST:
            said = f"{said[:_LONGEST]} ..."
        return f"{' '.join(self.argv)}: {said or f'exit code {self.code}'}"
