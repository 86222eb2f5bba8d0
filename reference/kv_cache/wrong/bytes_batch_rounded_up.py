# base = "solution"
# caught_by = "kv_bytes.largest_batch"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Rounds the number of sequences up: the last one does not fit."""

# ruff: noqa: F821 - appended to solution.py


def largest_batch(config, *, length, budget_bytes):
    _require(budget_bytes >= 0 and length != 0, "a budget and a length")
    return -(-budget_bytes // kv_bytes(config, batch_size=1, length=length))
