"""
The Salt of a world: real masters and minions, configured as an operator would configure them.

``lab.world`` provisions them; tests call Salt's tools through :class:`lab.salt.master.Master`. The
files are those of each host's own ``/etc/salt``; Salt's daemons run on the hosts::

    extension_config   the block k8s_nodes, engine, ext_pillar and reactor for master.d
    config_file        settings that master and minion share
    served_files       states/ and pillar/, copied to where the masters serve them
          |
          v
    master, minion     configure, start, wait, stop; both are a daemon
          |
          v
    console            runs on the master's host and forks for each call of ``salt``, ``salt-run``
                       and ``salt-key``: the same as the tool, without the second of its imports
"""
