"""Follow each cluster's API server, and keep the store true to it."""
