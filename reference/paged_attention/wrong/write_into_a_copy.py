# base = "solution"
# caught_by = "write_kv.slots"
# cause = "wrong_value"
# also_fails = ["write_kv.bad_input", "write_kv.combinations", "write_kv.padding"]

"""Writes into a copy of the pool."""

# ruff: noqa: F821 - appended to solution.py

from types import SimpleNamespace

_write_in_place = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    copy = SimpleNamespace(k_PNHD=pool.k_PNHD.clone(), v_PNHD=pool.v_PNHD.clone())
    _write_in_place(copy, k_THD, v_THD, slots_T)
