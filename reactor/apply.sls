{#- Any minion can fire this tag: only the cluster's name is taken from it, as a quoted string, and
    the runner refuses a name that is not configured. #}
k8s_nodes_apply:
  runner.k8s_nodes.apply:
    - args:
      - cluster: {{ tag.split('/')[2] | json }}
