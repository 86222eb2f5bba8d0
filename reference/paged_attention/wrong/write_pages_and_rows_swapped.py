# base = "solution"
# caught_by = "write_kv.slots"
# cause = "wrong_value"
# also_fails = ["write_kv.bad_input", "write_kv.combinations", "write_kv.padding"]

"""Takes slot s for row s // P of page s % P."""

# ruff: noqa: F821 - appended to solution.py

_write_slots = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    P, N = pool.k_PNHD.shape[:2]
    swapped = torch.where(slots_T < 0, slots_T, slots_T % P * N + slots_T // P)
    _write_slots(pool, k_THD, v_THD, swapped if slots_T.dtype == torch.int64 else slots_T)
