"""What is decided, without the outside: no Salt, no Kubernetes, no clock, no file, no socket."""
