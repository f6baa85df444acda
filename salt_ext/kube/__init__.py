"""The Kubernetes API: the one place that knows the official client and the wire format."""
