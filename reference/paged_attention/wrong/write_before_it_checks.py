# base = "solution"
# caught_by = "write_kv.bad_input"
# cause = "wrong_value"
# also_fails = ["write_kv.combinations"]

"""Writes tokens one by one until it meets a slot that it refuses."""

# ruff: noqa: F821 - appended to solution.py

_write_all = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    _write_all(pool, k_THD[:0], v_THD[:0], slots_T[:0])
    for t in range(min(len(k_THD), len(v_THD), len(slots_T))):
        _write_all(pool, k_THD[t : t + 1], v_THD[t : t + 1], slots_T[t : t + 1])
    _write_all(pool, k_THD, v_THD, slots_T)
