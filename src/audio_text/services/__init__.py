"""The use cases, one module each; they know ports, never adapters."""
