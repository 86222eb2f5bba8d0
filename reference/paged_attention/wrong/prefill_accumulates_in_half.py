# base = "solution"
# caught_by = "paged_prefill.whole_prompts"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Scores and sums of float16 inputs are kept in float16."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL)
    out = _prefill_checked(q_THqD, starts_B1, *args, lengths_B, scale=scale)

    if q_THqD.dtype == torch.float16:
        factor = _scale(scale, q_THqD.shape[2])
        (length,) = lengths_B.tolist()
        k, v = (_tokens(x, table_BL[0], 0, length).half() for x in args[:2])
        Hq, H = q_THqD.shape[1], k.shape[0]
        k, v = (x.repeat_interleave(Hq // H, dim=0) for x in (k, v))
        scores = (q_THqD.transpose(0, 1) @ k.transpose(1, 2)) * factor
        unseen = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = torch.softmax(scores.masked_fill(unseen, -math.inf), dim=-1)
        return (weights @ v).transpose(0, 1)
    return out
