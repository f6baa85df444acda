"""What a reference is, where it is found, and what takes its place."""
