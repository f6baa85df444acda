{#-
  A firewall in the style of today's formulas: one rule per address of pillar.

    firewall:
      services:
        postgresql:
          port: 5432
          protocol: tcp              # the default
          ips_allow: [192.0.2.10]    # addresses and networks of both families; empty: closed

  It knows nothing of Kubernetes: a reference such as k8s://prod among the addresses has been replaced
  before the pillar comes here. One that has not is no address. Then, and when a list is missing, this
  state fails and says so, and the rules in force stay in force.

  A minion whose pillar has k8s_firewall:sets has the formula k8s_firewall in its place. One with
  firewall:appends adds the rules that are missing and deletes none, as the published iptables
  formulas do; the others replace their rules as a whole.
#}
{%- set formula = pillar.get('k8s_firewall', {}) %}
{%- if 'sets' in formula %}

include:
  - k8s_firewall

{%- else %}

{%- set services = pillar.get('firewall', {}).get('services') %}
{%- set problems = [] %}
{%- if services is not mapping %}
{%-   do problems.append('firewall:services is no mapping of services') %}
{%-   set services = {} %}
{%- endif %}
{%- for name, service in services.items() %}
{%-   set where = 'firewall:services:' ~ name %}
{%-   set allowed = service.get('ips_allow') if service is mapping else none %}
{%-   if service is not mapping or service.get('port') is not integer %}
{%-     do problems.append(where ~ ':port is not a port number') %}
{%-   elif allowed is not sequence or allowed is string or allowed is mapping %}
{%-     do problems.append(where ~ ':ips_allow is not a list (write [] to let nobody in)') %}
{%-   else %}
{%-     for address in allowed %}
{%-       if not (address is string and address | ipaddr) %}
{%-         do problems.append(where ~ ':ips_allow has ' ~ address ~ ', which is no address') %}
{%-       endif %}
{%-     endfor %}
{%-   endif %}
{%- endfor %}

{%- if problems %}

firewall:
  test.configurable_test_state:
    - result: False
    - changes: False
    - comment: {{ ('the rules in force stay as they are: ' ~ problems | join('; ')) | yaml_dquote }}

{%- elif pillar['firewall'].get('appends') %}

{%-   for family in ('v4', 'v6') %}
/etc/iptables/append.{{ family }}:
  file.managed:
    - source: salt://firewall/append.sh
    - template: jinja
    - context:
        family: {{ family }}
    - makedirs: True
    - mode: '0700'

firewall {{ family }}:
  cmd.run:
    - name: /etc/iptables/append.{{ family }}
    - stateful: True
    - require:
      - file: /etc/iptables/append.{{ family }}
{%   endfor %}

{%- else %}

/etc/iptables/firewall.sh:
  file.managed:
    - source: salt://firewall/load.sh
    - makedirs: True
    - mode: '0700'

{%-   for family, iptables in (('v4', 'iptables'), ('v6', 'ip6tables')) %}

/etc/iptables/firewall.{{ family }}:
  file.managed:
    - source: salt://firewall/rules.jinja
    - template: jinja
    - context:
        family: {{ family }}
    - mode: '0600'
    # What iptables does not take never gets as far as the file.
    - check_cmd: {{ iptables }}-restore -w --noflush --test
    - require:
      - file: /etc/iptables/firewall.sh

# Always asked: a flush or a reboot takes the rules away without a change of the file.
firewall {{ family }}:
  cmd.run:
    - name: /etc/iptables/firewall.sh {{ family }}
    - stateful: True
    - require:
      - file: /etc/iptables/firewall.{{ family }}
{%-   endfor %}
{%- endif %}
{%- endif %}
