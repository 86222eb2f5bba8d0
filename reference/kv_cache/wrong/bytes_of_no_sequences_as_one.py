# base = "solution"
# caught_by = "kv_bytes.combinations"
# cause = "wrong_value"
# also_fails = []
"""Takes a batch of 0 for one that was left out."""
# ruff: noqa: F821 - appended to solution.py

_exact = kv_bytes


def kv_bytes(config, *, batch_size, length):
    return _exact(config, batch_size=batch_size or 1, length=length)
