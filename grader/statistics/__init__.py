"""Intervals and stopping rules: numbers in, numbers out, no knowledge of what they measure."""
