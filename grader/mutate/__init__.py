"""Mutants of right submissions: each changes one thing, and some hidden case must notice it."""
