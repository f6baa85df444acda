"""Diagnoses a whole set-up in one go: one file for each group of findings."""
