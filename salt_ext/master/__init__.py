"""The Salt master: its configuration, its event bus, its publisher and its job cache."""
