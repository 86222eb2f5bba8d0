# base = "solution"
# caught_by = "write_kv.bad_input"
# cause = "wrong_error"
# also_fails = ["write_kv.combinations"]

"""Lets two tokens have the same slot."""

# ruff: noqa: F821 - appended to solution.py

_write_each = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    if slots_T.dtype == torch.int64 and len(slots_T) == len(k_THD):
        last = {slot: t for t, slot in enumerate(slots_T.tolist())}
        kept = sorted(last.values())
        if len(v_THD) == len(k_THD):
            k_THD, v_THD, slots_T = k_THD[kept], v_THD[kept], slots_T[kept]
    _write_each(pool, k_THD, v_THD, slots_T)
