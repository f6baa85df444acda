"""Firewalls outside a Kubernetes cluster, kept true to the cluster by Salt."""
