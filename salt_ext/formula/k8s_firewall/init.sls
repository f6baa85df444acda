{#-
  Sets, gates and rules of the pillar k8s_firewall, now and at the next boot: see pillar.example.

  With k8s_firewall:boot: False nothing is installed for the boot.
#}
sets and gates:
  k8s_firewall.applied: []

{%- if salt['pillar.get']('k8s_firewall:boot', True) and grains.get('init') == 'systemd' %}
{%-   set folder = opts.get('k8s_firewall', {}).get('state_dir', '/var/lib/k8s_firewall') %}
{%-   for unit in ('k8s_firewall', 'k8s_firewall-ipset', 'k8s_firewall-ipset-last') %}

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
  systemd propagates a reload only to an active unit: if these were not started, a reload of
  nftables, or of saved ipsets, before the next boot would undo what is applied.
#}
{%-   for unit, others, loaded in (
        ('k8s_firewall', 'nftables', 'ruleset.nft'),
        ('k8s_firewall-ipset-last', 'saved ipsets', 'sets.ipset'),
      ) %}

start {{ unit }} with {{ others }}:
  service.running:
    - name: {{ unit }}
    # Without a table, or ipsets, of this module there is no file: systemd would start nothing.
    - onlyif:
      - test -e '{{ folder }}/{{ loaded }}'
    # The unit loads the file that this state has just written.
    - require:
      - k8s_firewall: sets and gates
      - file: /etc/systemd/system/{{ unit }}.service
{%-   endfor %}
{%- endif %}
