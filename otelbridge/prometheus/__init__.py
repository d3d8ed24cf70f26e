"""The pull path: the reader Prometheus sees and the endpoint it is served from."""
