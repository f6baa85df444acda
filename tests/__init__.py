"""
The tests, by the lowest layer that can fail for the right reason.

::

    core/         values in, values out: no clock, no file, no socket
    minion/       the minion's readers and writers of text, without root
    contract/     what a Kubernetes API is: the emulator and a real kube-apiserver alike
    functional/   one part with its real neighbour: Salt's loader, SQLite, HTTPS, subprocesses
    faults/       the rows of docs/developers/faults.md on a running watcher
    firewall/     the minion's module on real kernels, with packets; needs root
    integration/  a whole world: API, master, minions, packets; needs root
    golden/       screens and rulesets as files: a change of words is seen in review

Helpers are imported by their full names (``from tests.firewall import place``).
"""
