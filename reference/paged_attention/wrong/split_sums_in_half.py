# base = "solution"
# caught_by = "split_kv_decode.splits"
# cause = "wrong_value"
# also_fails = ["split_kv_decode.combinations"]

"""Keeps the sum over parts in half precision: one rounding for each part."""

# ruff: noqa: F821 - appended to solution.py


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    _require(n_splits >= 1, "n_splits must be at least 1")
    factor = _scale(scale, q_BHqD.shape[2])
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    lse = torch.full(q_BHqD.shape[:2], -math.inf)
    for b, length in enumerate(lengths_B.tolist()):
        cuts = [length * c // n_splits for c in range(n_splits + 1)]
        for first, last in itertools.pairwise(cuts):
            part = _decode_one(q_BHqD[b], (k_PNHD, v_PNHD), table_BL[b], [first, last], factor)
            both = (torch.stack((out[b].float(), part[0])), torch.stack((lse[b], part[1])))
            out[b], lse[b] = _merge(*both)
    return out, lse
