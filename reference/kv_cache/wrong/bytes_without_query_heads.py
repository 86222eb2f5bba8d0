# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Does not look at the number of query heads."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_good = kv_bytes


def _repaired(config):
    import dataclasses

    return dataclasses.replace(config, n_query_heads=config.n_kv_heads)


def kv_bytes(config, *, batch_size, length):
    return _bytes_of_good(_repaired(config), batch_size=batch_size, length=length)
