"""The engine at work: its threads, and what passes between them."""
