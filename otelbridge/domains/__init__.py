"""What applications call: one module a domain, built on the catalogue, over the OpenTelemetry API."""
