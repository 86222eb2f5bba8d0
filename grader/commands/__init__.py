"""One file per command: it reads the options, calls the stages, and prints the result."""
