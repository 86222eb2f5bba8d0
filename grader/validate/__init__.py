"""Proof that an assignment grades what it says: every check against known submissions."""
