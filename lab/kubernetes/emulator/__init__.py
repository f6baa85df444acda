"""
A Kubernetes API in Python: nodes over HTTPS, as the real server answers, and faults on command.

``python -m lab.kubernetes.emulator`` runs it alone, for any watcher; the emulator back end runs it
in a world. The contract tests hold it to the real kube-apiserver: where they differ, the emulator
is wrong. It imports neither Salt nor the extension, and writes only to its folder::

    client --TLS--> listener, server          control socket <-- control (tests), ctl (shell)
                        |                          |
          access        v                          v
       (401, 403) <-- faults, request_log <-- control_server
                        |
                        v
                       api --> list_response    pages, versions, continue tokens
                        |  --> watch, streams   events, bookmarks; cut, freeze, drop
                        |  --> objects          create, update, patch, delete, validation
                        v
                      store                     objects, one version counter, history

``cluster`` holds these parts together; ``folder`` has certificates, tokens and kubeconfig files.
"""
