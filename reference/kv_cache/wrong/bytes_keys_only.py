# base = "solution"
# caught_by = "kv_bytes.full_layers"
# cause = "wrong_value"
# also_fails = [
#   "kv_bytes.window_layers",
#   "kv_bytes.int8",
#   "kv_bytes.largest_batch",
#   "kv_bytes.combinations",
# ]

"""Forgets the factor 2: counts keys and no values."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_both = kv_bytes


def kv_bytes(config, *, batch_size, length):
    return _bytes_of_both(config, batch_size=batch_size, length=length) // 2
