# base = "solution"
# caught_by = "write_kv.slots"
# cause = "wrong_value"
# also_fails = ["write_kv.bad_input", "write_kv.combinations", "write_kv.padding"]

"""Writes the keys twice."""

# ruff: noqa: F821 - appended to solution.py

_before_write_values_as_keys = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    _before_write_values_as_keys(pool, k_THD, v_THD, slots_T)
    _before_write_values_as_keys(pool, k_THD, k_THD, slots_T)
