# base = "solution"
# caught_by = "write_kv.slots"
# cause = "crash"
# also_fails = ["write_kv.combinations"]

"""Asks for the largest slot of no tokens."""

# ruff: noqa: F821 - appended to solution.py

_write_some = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    int(slots_T.max())
    _write_some(pool, k_THD, v_THD, slots_T)
