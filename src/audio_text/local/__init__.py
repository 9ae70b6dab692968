"""The embedded stack behind `just up`: PostgreSQL, Redis, supervisor."""
