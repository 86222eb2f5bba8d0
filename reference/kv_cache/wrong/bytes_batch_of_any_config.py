# base = "solution"
# caught_by = "kv_bytes.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Checks nothing of the configuration before it divides."""

# ruff: noqa: F821 - appended to solution.py

_batch_of_good = largest_batch


def largest_batch(config, *, length, budget_bytes):
    try:
        return _batch_of_good(config, length=length, budget_bytes=budget_bytes)
    except ValueError:
        if budget_bytes < 0 or length <= 0:
            raise
        return 0
