# base = "solution"
# caught_by = "write_kv.padding"
# cause = "wrong_value"
# also_fails = ["write_kv.combinations"]

"""Padding is clamped to slot 0 and overwrites the first token there."""

# ruff: noqa: F821 - appended to solution.py

_write_checked = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    _write_checked(pool, k_THD, v_THD, slots_T)
    if bool((slots_T == -1).any()):
        pool.k_PNHD[0, 0], pool.v_PNHD[0, 0] = (x[slots_T == -1][-1] for x in (k_THD, v_THD))
