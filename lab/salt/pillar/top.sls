base:
  'minion*':
    - firewall
