#!/bin/sh
{#- The rules of one family, in the manner of published formulas: each is added where it is missing. -#}
{%- set services = pillar['firewall']['services'] %}
# Written by Salt from the pillar firewall:services. No rule is ever deleted here.
set -e

iptables={{ 'ip6tables' if family == 'v6' else 'iptables' }}
changed=no

has() {
  $iptables -w -C INPUT "$@" 2>/dev/null
}

insert() {
  has "$@" || { $iptables -w -I INPUT "$@"; changed=yes; }
}

append() {
  has "$@" || { $iptables -w -A INPUT "$@"; changed=yes; }
}

{%- for name, service in services.items() %}
{%-   for address in service['ips_allow'] if (':' in address) == (family == 'v6') %}
insert -s {{ address }} -p {{ service.get('protocol', 'tcp') }} --dport {{ service['port'] }} -j ACCEPT
{%-   endfor %}
{%- endfor %}
append -i lo -j ACCEPT
{%- for master in opts.get('lab_masters', [opts['master_ip']]) if (':' in master) == (family == 'v6') %}
# The Salt master's answers, known or not to connection tracking (which begins with these rules).
append -s {{ master }} -p tcp -m multiport --sports {{ opts.get('publish_port', 4505) }},{{ opts['master_port'] }} -j ACCEPT
{%- endfor %}
append -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
append -p {{ 'ipv6-icmp' if family == 'v6' else 'icmp' }} -j ACCEPT
append -j DROP

# What the next boot loads.
[ $changed = no ] || $iptables-save >/etc/iptables/rules.{{ family }}
echo "changed=$changed comment='each rule is there'"
