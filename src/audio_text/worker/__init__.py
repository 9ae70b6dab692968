"""Process 2: messages in, events out."""
