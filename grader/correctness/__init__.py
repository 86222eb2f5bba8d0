"""Runs the cases of a plan on a submission, and returns what was measured."""
