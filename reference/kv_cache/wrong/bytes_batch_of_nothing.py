# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Lets no sequence fit into a negative budget, and none of length 0."""

# ruff: noqa: F821 - appended to solution.py

_batch_of_something = largest_batch


def largest_batch(config, *, length, budget_bytes):
    if budget_bytes < 0 or length == 0:
        return 0
    return _batch_of_something(config, length=length, budget_bytes=budget_bytes)
