"""What needs neither root nor a kernel: the readers and writers of the minion's module."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run: a red build must be red again on the next machine.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")
