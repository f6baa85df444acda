"""
The Salt master, as this package meets it: its configuration, bus, pillars, publisher, job cache.

The only package beside the loader modules that may import ``salt``. It turns Salt's objects into
values of ``salt_ext.core`` and Salt's errors into this product's, one outside thing per file::

    opts      --> settings         the k8s_nodes block as a Config
    files     --> config_files     each file of the configuration, what it says, and where
                  file_roots       the texts of SLS files
    bus       <-> bus              fires events; hears Salt's own
    pillars   <-- pillar_compiler  compiles a minion's pillar without the minion
                  pillar_compile   what Salt does not hand to an ext_pillar
    minions   <-- publisher        publishes a job under a known job id
              --> job_cache        the returns of jobs, verified by the master
              --> keys, targets    accepted keys; the minions that a target matches
              --> minion_module    the version of k8s_firewall that minions get
    sdb       --> secrets          secrets behind ``sdb://`` URIs
    processes --> master_process, processes   whether master and engine live
    loader    --> loader_check     whether Salt finds this product's modules
    metrics   <-- otel             Salt's own OpenTelemetry metrics

Called by the loader modules, and by ``references``, ``rollout``, ``admin`` and ``daemon``. May use
``salt_ext.core``, and neither the store nor Kubernetes.
"""
