"""The `k8s_nodes` block of the master's configuration."""
