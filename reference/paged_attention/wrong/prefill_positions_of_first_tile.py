# base = "solution"
# caught_by = "paged_prefill.combinations"
# cause = "wrong_value"
# also_fails = []

"""Queries in tiles of 64, each of which stands where the first one does."""

# ruff: noqa: F821 - appended to solution.py

_prefill_by_position = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    out = _prefill_by_position(*args, scale=scale)
    for b, (first, last) in enumerate(itertools.pairwise(starts_B1.tolist())):
        for at in range(first + 64, last, 64):
            mine = q_THqD[at : min(at + 64, last)]
            n = mine.shape[0]
            stand = lengths_B[b] - (last - first) + n
            if stand > 0:
                out[at : at + n] = _prefill_by_position(
                    mine,
                    torch.tensor([0, n]),
                    k_PNHD,
                    v_PNHD,
                    table_BL[b : b + 1],
                    stand[None],
                    scale=scale,
                )
    return out
