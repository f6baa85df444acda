"""Runner modules that Salt loads on the master."""
