"""The engine's process: wires watch and rollout together, and exports metrics."""
