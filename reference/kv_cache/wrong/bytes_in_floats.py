# base = "solution"
# caught_by = "kv_bytes.full_layers"
# cause = "wrong_value"
# also_fails = []

"""Computes in floats, which are exact only up to 2^53."""

# ruff: noqa: F821 - appended to solution.py

_bytes_exactly = kv_bytes


def kv_bytes(config, *, batch_size, length):
    return int(float(_bytes_exactly(config, batch_size=batch_size, length=length)))
