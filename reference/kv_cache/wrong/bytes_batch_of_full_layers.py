# base = "solution"
# caught_by = "kv_bytes.largest_batch"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Divides by the bytes of full layers, though some have a window."""

# ruff: noqa: F821 - appended to solution.py

_batch_of_config = largest_batch


def largest_batch(config, *, length, budget_bytes):
    import dataclasses

    _require_config(config)
    full = dataclasses.replace(config, n_window_layers=0)
    return _batch_of_config(full, length=length, budget_bytes=budget_bytes)
