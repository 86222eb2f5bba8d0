# base = "solution"
# caught_by = "kv_bytes.full_layers"
# cause = "wrong_value"
# also_fails = [
#   "kv_bytes.window_layers",
#   "kv_bytes.int8",
#   "kv_bytes.largest_batch",
#   "kv_bytes.combinations",
# ]

"""Counts query heads instead of key/value heads."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_kv_heads = kv_bytes


def kv_bytes(config, *, batch_size, length):
    total = _bytes_of_kv_heads(config, batch_size=batch_size, length=length)
    return total // config.n_kv_heads * config.n_query_heads
