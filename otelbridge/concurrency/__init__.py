"""What threads, signal handlers and forked processes must not do to each other. The lowest room: it knows no other."""
