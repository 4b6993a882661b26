"""The outside: brokers, stores, files, telemetry. Clients are opened when a worker starts, never at import."""
