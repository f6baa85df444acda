"""
Real traffic: a service on every minion, and probes on the other hosts that try to reach it.

What a firewall lets through is judged by packets, never by reading its rules. ``lab.world`` starts
probes with each node's host; tests and the demo wait for their transitions::

    node1                                             minion1
    +------------------------------+                 +--------------------+
    | prober connect: new, 10 ms   | --- SYN ------> | echo_server :5432  |
    | prober flow: one, kept open  | <-- data -----> |                    |
    +------------|-----------------+                 +--------------------+
                 v
            record (JSON lines) -> Probe.transitions, wait, count

``prober`` and ``echo_server`` are scripts of the standard library that run on a host. A probe
records ``open`` and ``closed``, or ``flowing``, ``stopped`` and ``ended``, with times of the
monotonic clock, which all processes of the machine share.
"""
