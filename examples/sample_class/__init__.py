"""A sample class, as `make demo` grades it."""
