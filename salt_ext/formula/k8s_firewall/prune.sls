{#-
  For minions whose own formula only appends rules: include it beside that formula. One state runs
  first and one last in the whole run, also where the other formula fails.
#}
record served addresses:
  k8s_firewall.recorded:
    - order: 1

prune removed addresses:
  k8s_firewall.pruned:
    - order: last
