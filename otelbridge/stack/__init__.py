"""Finds, builds, starts and stops the real components a demo or a test runs against."""
