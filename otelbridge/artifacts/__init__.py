"""Files for other programs, made from the catalogue."""
