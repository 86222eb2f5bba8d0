"""Verdicts, causes and points from measurements; pure, and repeatable offline."""
