"""Measures: ours beside an alternative, in the same run."""
