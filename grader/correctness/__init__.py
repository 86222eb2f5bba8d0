"""Carries the cases of a plan through a worker and keeps what was seen."""
