"""Runs the submission and the reference in turns and keeps raw samples."""
