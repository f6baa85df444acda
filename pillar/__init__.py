"""External pillar modules that Salt loads on the master."""
