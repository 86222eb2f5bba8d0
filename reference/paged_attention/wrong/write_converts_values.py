# base = "solution"
# caught_by = "write_kv.combinations"
# cause = "wrong_error"
# also_fails = []

"""Checks the dtype of keys alone, and of values whose dtype is narrower: wider ones are rounded."""

# ruff: noqa: F821 - appended to solution.py

_write_checked_dtypes = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    size = v_THD.element_size() > k_THD.element_size()
    _write_checked_dtypes(pool, k_THD, v_THD.to(k_THD.dtype) if size else v_THD, slots_T)
