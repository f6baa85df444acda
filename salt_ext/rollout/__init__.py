"""Bring every minion to what the store says, and prove it."""
