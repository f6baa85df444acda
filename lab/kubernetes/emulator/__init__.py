"""
A Kubernetes API in Python, in a process of its own: nodes over HTTPS, as the real server answers,
and wrongly on demand.

It speaks what a node watcher needs and is held to the real kube-apiserver by the contract tests;
where the two disagree, the real one is right.
"""
