"""What is decided, without asking the outside: no Salt, no Kubernetes, no clock, no file, no socket."""
