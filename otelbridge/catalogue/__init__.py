"""Instruments as data: one module a domain, from which everything else is made."""
