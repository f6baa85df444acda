{#-
  Sets and gates of the pillar k8s_firewall, now and at the next boot: see pillar.example.

  k8s_firewall:boot: False leaves systemd alone.
#}
sets and gates:
  k8s_firewall.in_force: []

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
  Nothing is propagated to a unit that is not active: without this, a reload of nftables before the
  next boot takes the gates away. The one of the ipsets has nothing to follow.
#}
the unit that follows nftables:
  service.running:
    - name: k8s_firewall
    # There is no file where nothing of ours is in nftables: then systemd starts nothing.
    - onlyif:
      - test -e '{{ folder }}/ruleset.nft'
    # What it loads is what has just been brought into force.
    - require:
      - k8s_firewall: sets and gates
      - file: /etc/systemd/system/k8s_firewall.service
{%- endif %}
