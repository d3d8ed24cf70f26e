"""OpenTelemetry-first metrics for Python services: one call, Prometheus and OTLP at once."""
