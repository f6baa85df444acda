"""Reactor SLS files; data only."""
