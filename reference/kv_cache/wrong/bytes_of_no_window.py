# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Lets layers with a window of 0 keep the sinks alone."""

# ruff: noqa: F821 - appended to solution.py

_bytes_of_good = kv_bytes


def _repaired(config):
    import dataclasses

    windowed = config.n_window_layers if config.window else 0
    return dataclasses.replace(config, n_window_layers=windowed)


def kv_bytes(config, *, batch_size, length):
    return _bytes_of_good(_repaired(config), batch_size=batch_size, length=length)
