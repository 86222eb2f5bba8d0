# base = "solution"
# caught_by = "write_kv.bad_input"
# cause = "wrong_error"
# also_fails = ["write_kv.combinations"]

"""Slots below -1 count from the end."""

# ruff: noqa: F821 - appended to solution.py

_before_write_counts_from_the_end = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    room = pool.k_PNHD.shape[0] * pool.k_PNHD.shape[1]
    if slots_T.dtype == torch.int64:
        slots_T = torch.where(slots_T < -1, slots_T + room, slots_T)
    _before_write_counts_from_the_end(pool, k_THD, v_THD, slots_T)
