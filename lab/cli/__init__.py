"""
The command line of the lab: ``python -m lab up``, ``status``, ``node join``, ``probe``, ``down``.

People and the tests of the lab call it. Each command opens the world by its name, does one thing
and ends; nothing stays in memory between two commands. It prints answers on standard output and
progress on standard error, and exits with 1 after a failure, with 2 on an unfit machine::

    argv -> main -> parser -> world_commands   up, down, status
                           -> node_commands    node join, node leave, node list
                           -> host_commands    exec, salt, probe, logs, cut, reconnect, api
                                  |
                                  v
                               screen          tables, colours, progress, failures

It may use everything in the lab except the demo, and touches the machine only through a world.
"""
