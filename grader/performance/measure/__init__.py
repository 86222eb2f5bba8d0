"""Runs submission and reference in turns and keeps raw samples."""
