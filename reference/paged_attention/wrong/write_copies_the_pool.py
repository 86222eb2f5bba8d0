# base = "solution"
# caught_by = "write_kv.write_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but works on a copy of the whole pool."""

# ruff: noqa: F821 - appended to solution.py

_write_in_place = write_kv


class _Copy:
    def __init__(self, pool):
        self.k_PNHD, self.v_PNHD = pool.k_PNHD.clone(), pool.v_PNHD.clone()


def write_kv(pool, k_THD, v_THD, slots_T):
    copy = _Copy(pool)
    _write_in_place(copy, k_THD, v_THD, slots_T)
    pool.k_PNHD.copy_(copy.k_PNHD)
    pool.v_PNHD.copy_(copy.v_PNHD)
