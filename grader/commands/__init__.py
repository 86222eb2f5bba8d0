"""One file per command; each reads its options, calls the stages, and prints."""
