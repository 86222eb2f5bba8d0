# base = "solution"
# caught_by = "kv_bytes.window_layers"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Forgets that the sinks stay beside the window."""

# ruff: noqa: F821 - appended to solution.py

_bytes_with_sinks = kv_bytes


def kv_bytes(config, *, batch_size, length):
    _require_config(config)
    import dataclasses

    bare = dataclasses.replace(config, n_sinks=0)
    return _bytes_with_sinks(bare, batch_size=batch_size, length=length)


def largest_batch(config, *, length, budget_bytes):
    _require(budget_bytes >= 0 and length != 0, "a budget and a length")
    return budget_bytes // _bytes_with_sinks(config, batch_size=1, length=length)
