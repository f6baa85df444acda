{#-
  Sets, gates and rules of the pillar k8s_firewall, now and at the next boot: see pillar.example.

  With k8s_firewall:boot: False nothing is installed for the boot.
#}
sets and gates:
  k8s_firewall.applied: []

{%- if salt['pillar.get']('k8s_firewall:boot', True) and grains.get('init') == 'systemd' %}
{%-   set folder = opts.get('k8s_firewall', {}).get('state_dir', '/var/lib/k8s_firewall') %}
{%-   for unit in ('k8s_firewall', 'k8s_firewall-ipset') %}

/etc/systemd/system/{{ unit }}.service:
  file.managed:
    - source: salt://k8s_firewall/{{ unit }}.service
    - template: jinja
    - mode: '0644'
    - context:
        folder: {{ folder }}
        nft: {{ salt['cmd.which']('nft') or '/usr/sbin/nft' }}
        ipset: {{ salt['cmd.which']('ipset') or '/usr/sbin/ipset' }}
        selinux: {{ grains.get('selinux', {}).get('enabled', False) }}

{{ unit }}:
  service.enabled:
    - require:
      - file: /etc/systemd/system/{{ unit }}.service
{%-   endfor %}

{#-
  systemd propagates a reload only to an active unit: if this one were not started, a reload of
  nftables before the next boot would delete the gates. The unit of the ipsets follows no other.
#}
start k8s_firewall with nftables:
  service.running:
    - name: k8s_firewall
    # Without this module's nft table there is no file, and systemd would start nothing.
    - onlyif:
      - test -e '{{ folder }}/ruleset.nft'
    # The unit loads the file that this state has just written.
    - require:
      - k8s_firewall: sets and gates
      - file: /etc/systemd/system/k8s_firewall.service
{%- endif %}
