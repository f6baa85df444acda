{#-
  Three ways: minion1 has a formula that only appends, with a rule for each address; minion2 has sets
  and a gate of the formula k8s_firewall; the others replace their rules as a whole.
-#}
{%- if opts['id'] == 'minion2' %}
k8s_firewall:
  # Not the units of the machine's own systemd.
  boot: false
  sets:
    postgresql:
      - 10.77.3.1
      - fd77:0:0:3::1
      - k8s://prod
  gates:
    5432: postgresql
{%- else %}
firewall:
  # As most published formulas: it never deletes a rule.
  appends: {{ opts['id'] == 'minion1' }}
  services:
    postgresql:
      port: 5432
      ips_allow:
        # The office, always.
        - 10.77.3.1
        - fd77:0:0:3::1
        # Every node of the cluster prod, whoever that is just now.
        - k8s://prod
{%- endif %}
