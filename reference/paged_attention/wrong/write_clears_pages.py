# base = "solution"
# caught_by = "write_kv.slots"
# cause = "wrong_value"
# also_fails = ["write_kv.bad_input", "write_kv.combinations", "write_kv.padding"]

"""Clears each page that it writes into."""

# ruff: noqa: F821 - appended to solution.py

_before_write_clears_pages = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    N = pool.k_PNHD.shape[1]
    _before_write_clears_pages(pool, k_THD, v_THD, slots_T)
    pages = (slots_T[slots_T >= 0] // N).unique()
    pool.k_PNHD[pages] = 0
    pool.v_PNHD[pages] = 0
    _before_write_clears_pages(pool, k_THD, v_THD, slots_T)
