"""When to try again, when to announce, how often at most."""
