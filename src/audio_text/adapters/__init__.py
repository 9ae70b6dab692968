"""One module per outside system; each maps its vendor's errors to ours."""
