"""A sample class, graded: what `make demo` shows on a fresh machine."""
