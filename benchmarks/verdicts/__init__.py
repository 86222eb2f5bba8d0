"""Measures the error rates of performance verdicts, on submissions whose slowness is known."""
