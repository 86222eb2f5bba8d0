# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes a negative window or number of sinks for 0."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_good = kv_bytes


def _repaired(config):
    import dataclasses

    window, n_sinks = max(config.window, 0), max(config.n_sinks, 0)
    return dataclasses.replace(config, window=window, n_sinks=n_sinks)


def kv_bytes(config, *, batch_size, length):
    return _bytes_of_good(_repaired(config), batch_size=batch_size, length=length)
