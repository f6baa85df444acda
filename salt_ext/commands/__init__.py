"""What the runner and the ext_pillar do, one file for each thing that a person can ask for."""
