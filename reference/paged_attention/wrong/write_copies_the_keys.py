# base = "solution"
# caught_by = "write_kv.write_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but writes keys into a copy of the whole pool of keys."""

# ruff: noqa: F821 - appended to solution.py

_write_in_place = write_kv


class _Half:
    def __init__(self, k_PNHD, v_PNHD):
        self.k_PNHD, self.v_PNHD = k_PNHD, v_PNHD


def write_kv(pool, k_THD, v_THD, slots_T):
    half = _Half(pool.k_PNHD.clone(), pool.v_PNHD)
    _write_in_place(half, k_THD, v_THD, slots_T)
    pool.k_PNHD.copy_(half.k_PNHD)
