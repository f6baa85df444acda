firewall:
  services:
    postgresql:
      port: 5432
      ips_allow:
        # The office, always.
        - 10.77.3.1
        - fd77:0:0:3::1
        # Every node of the cluster prod, whoever that is just now.
        - k8s://prod
