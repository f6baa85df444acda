"""One cluster's nodes, members, snapshots and guards."""
