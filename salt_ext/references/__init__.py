"""From a reference in a pillar to addresses, over the store."""
