# base = "solution"
# caught_by = "kv_bytes.largest_batch"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Lets one sequence fit into any budget."""

# ruff: noqa: F821 - appended to solution.py

_batch_that_fits = largest_batch


def largest_batch(config, *, length, budget_bytes):
    return max(_batch_that_fits(config, length=length, budget_bytes=budget_bytes), 1)
