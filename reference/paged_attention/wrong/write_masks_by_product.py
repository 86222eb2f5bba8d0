# base = "solution"
# caught_by = "write_kv.combinations"
# cause = "wrong_value"
# also_fails = []

"""Adds tokens to slots that were cleared: -0.0 becomes 0.0."""

# ruff: noqa: F821 - appended to solution.py

_write_negative_zeros = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    if k_THD.dtype == v_THD.dtype and k_THD.is_floating_point():
        k_THD, v_THD = k_THD + 0.0, v_THD + 0.0
    _write_negative_zeros(pool, k_THD, v_THD, slots_T)
