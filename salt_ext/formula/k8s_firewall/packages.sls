{#- Installs the programs that the module calls; include it where nothing else installs them. #}
programs of k8s_firewall:
  pkg.installed:
    - pkgs:
      - nftables
      - {{ 'iproute2' if grains['os_family'] == 'Debian' else 'iproute' }}
{%- if salt['pillar.get']('k8s_firewall:backend') == 'ipset' %}
      - ipset
{%- endif %}
