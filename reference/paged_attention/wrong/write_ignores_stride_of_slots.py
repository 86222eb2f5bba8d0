# base = "solution"
# caught_by = "write_kv.combinations"
# cause = "wrong_value"
# also_fails = []

"""Reads the slots one after the other from where they begin, as a kernel without strides."""

# ruff: noqa: F821 - appended to solution.py

_write_strided = write_kv


def write_kv(pool, k_THD, v_THD, slots_T):
    if slots_T.dim() == 1 and slots_T.dtype == torch.int64 and not slots_T.is_contiguous():
        slots_T = slots_T.as_strided(slots_T.shape, (1,))
        if slots_T[slots_T >= 0].unique().numel() < (slots_T >= 0).sum():
            _, first = slots_T.unique(return_inverse=True)
            seen = torch.zeros(slots_T.numel(), dtype=torch.bool)
            for place in range(slots_T.numel()):
                seen[place] = first[place] in first[:place]
            slots_T = slots_T.masked_fill(seen, -1)
    _write_strided(pool, k_THD, v_THD, slots_T)
