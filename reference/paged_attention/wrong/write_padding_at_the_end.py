# base = "solution"
# caught_by = "write_kv.padding"
# cause = "wrong_value"
# also_fails = ["write_kv.combinations"]

"""Slot -1 is taken as Python takes it: the last row of the last page."""

# ruff: noqa: F821 - appended to solution.py

_write_checked = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    _write_checked(pool, k_THD, v_THD, slots_T)
    if bool((slots_T == -1).any()):
        pool.k_PNHD[-1, -1], pool.v_PNHD[-1, -1] = (x[slots_T == -1][0] for x in (k_THD, v_THD))
