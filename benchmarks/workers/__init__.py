"""Programs that the parts measure, each in a process of its own; they print JSON lines."""
