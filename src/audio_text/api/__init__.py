"""Process 1: HTTP in, live status out."""
