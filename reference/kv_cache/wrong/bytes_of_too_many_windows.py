# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes any number of window layers for the nearest possible one."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_good = kv_bytes


def _repaired(config):
    import dataclasses

    windowed = min(max(config.n_window_layers, 0), config.n_layers)
    return dataclasses.replace(config, n_window_layers=windowed)


def kv_bytes(config, *, batch_size, length):
    return _bytes_of_good(_repaired(config), batch_size=batch_size, length=length)
