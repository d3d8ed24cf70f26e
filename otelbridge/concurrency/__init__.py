"""Threads, forks, signal handlers and the end of the interpreter: what every other room needs to survive them."""
