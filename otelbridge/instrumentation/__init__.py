"""What records by itself: HTTP, databases, the system, the process and the interpreter."""
