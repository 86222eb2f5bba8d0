"""Talking to the ranks of a process group at once."""
