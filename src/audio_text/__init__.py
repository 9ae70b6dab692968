"""audio-text: audio in, text out, asynchronously."""
