"""Findings about a set-up, from values alone."""
