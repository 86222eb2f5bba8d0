# base = "solution"
# caught_by = "kv_bytes.window_layers"
# cause = "wrong_value"
# also_fails = []

"""Forgets that the sinks stay beside the window."""

# ruff: noqa: F821 - appended to solution.py

_bytes_with_sinks = kv_bytes


def kv_bytes(config, *, batch_size, length):
    _require_config(config)
    import dataclasses

    bare = dataclasses.replace(config, n_sinks=0)
    return _bytes_with_sinks(bare, batch_size=batch_size, length=length)
