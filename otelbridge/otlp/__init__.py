"""The push path: OTLP readers, one a destination."""
