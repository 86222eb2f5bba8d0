# base = "solution"
# caught_by = "write_kv.combinations"
# cause = "wrong_error"
# also_fails = []

"""Converts keys and values of one other dtype to that of the pool."""

# ruff: noqa: F821 - appended to solution.py

_before_write_converts_both = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    if k_THD.dtype == v_THD.dtype:
        k_THD, v_THD = k_THD.to(pool.k_PNHD.dtype), v_THD.to(pool.k_PNHD.dtype)
    _before_write_converts_both(pool, k_THD, v_THD, slots_T)
