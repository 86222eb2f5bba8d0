# base = "solution"
# caught_by = "kv_bytes.combinations"
# cause = "crash"
# also_fails = []
"""Refuses a batch of 0."""
# ruff: noqa: F821 - appended to solution.py

_exact = kv_bytes


def kv_bytes(config, *, batch_size, length):
    _require(batch_size >= 1, "no sequences")
    return _exact(config, batch_size=batch_size, length=length)
