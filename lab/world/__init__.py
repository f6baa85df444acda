"""
A world as a whole: provision it, open it from another process, let nodes join and leave, remove it.

The command line, the demo, the integration tests and the benchmarks call it. It owns the folder
``/run/k8s-lab/NAME`` and the network namespaces ``k8s-lab.NAME.*``, and touches nothing else::

    WorldSpec -> provision -> World --- inventory     hosts and their probes, by name
                    |           |           |
              prerequisites     |           v
              of the machine    |       state_file    world.json: how another process finds them
                                |
                                +------ convergence   wait until the firewalls are in force
                                +------ logs          of all parts; copies outlive the world

A world that was interrupted while it was provisioned or removed is incomplete: it cannot be opened,
and ``down`` removes what is left, which it finds by the names of the namespaces.
"""
