"""
A whole world on one machine: Kubernetes API, Salt master, minions with firewalls, hosts that send.

The demo, the end-to-end tests and the benchmarks run in it; ``python -m lab`` is for people. It is
never part of the wheel. A folder may import what stands below it, never what stands above::

    cli            demo             commands of a person; the story of ``make demo``
         world                      provision, open, change and remove a world
    salt         traffic            master and minions; probes and the service that they try
    network      kubernetes         hosts on a switch; kube-apiserver or the emulator
         process, polling, errors   what every folder uses

Everything real is real: kernel firewalls in network namespaces, Salt's own daemons, TCP connections
whose fate a probe records. Only the Kubernetes API may be an emulator, and one contract suite holds
it to the real server. The machine's own network, files and services are left alone.
"""
