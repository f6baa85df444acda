"""
The network of a world: hosts with addresses of both families, on one switch.

``lab.world`` builds worlds of it, and the firewall tests and benchmarks use it without a world. It
creates network namespaces, bridges and veth pairs with ``ip``, always inside namespaces, so that
the machine's own network has no link, address or rule of the lab. It needs root::

    address     the plan: 10.77.GROUP.NUMBER and fd77:0:0:GROUP::NUMBER

                  namespace k8s-lab.WORLD.switch
                 +------------- bridge ------------+
                 | p0.1     p0.2     p1.1     p2.1 |       switch    plug, unplug, cut, reconnect
                 +--|--------|--------|--------|---+
                   eth0     eth0     eth0     eth0         namespace one for each host
                  master    kube   minion1   node1         host      with its own /etc and name

A host runs commands and daemons; its processes end with its namespace.
"""
