# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes query heads that key/value heads do not divide."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_good = kv_bytes


def _repaired(config):
    import dataclasses

    uneven = config.n_kv_heads > 0 and config.n_query_heads > config.n_kv_heads
    heads = config.n_kv_heads if uneven else config.n_query_heads
    return dataclasses.replace(config, n_query_heads=heads)


def kv_bytes(config, *, batch_size, length):
    return _bytes_of_good(_repaired(config), batch_size=batch_size, length=length)
