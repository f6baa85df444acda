"""A whole world on one machine: Kubernetes API, Salt master, minions and node hosts."""
