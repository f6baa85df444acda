{#- Checks the kernel at an interval in seconds, repairs what differs, and fires an event to the master. #}
k8s_firewall:
  schedule.present:
    - function: k8s_firewall.drift
    - job_kwargs:
        repair: true
    - seconds: {{ salt['pillar.get']('k8s_firewall:drift', 300) }}
    - splay: 10
    - maxrunning: 1
    - return_job: false
