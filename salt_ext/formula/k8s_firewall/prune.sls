{#-
  For minions whose own formula only appends rules: include it beside that formula. The states run
  first and last of all, whatever becomes of the formula's.
#}
who is served by references:
  k8s_firewall.remembered:
    - order: 1

who has left:
  k8s_firewall.pruned:
    - order: last
