"""The main job for real, told and measured: ``python -m lab.demo``."""
