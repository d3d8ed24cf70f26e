"""The metrics an application keeps with prometheus_client, read, merged over processes and shown with ours."""
