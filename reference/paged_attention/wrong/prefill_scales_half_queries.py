# base = "solution"
# caught_by = "paged_prefill.whole_prompts"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Scales queries in half precision, before the product: they are rounded once more."""

# ruff: noqa: F821 - appended to solution.py

_prefill_scaled_scores = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_THqD.dtype == torch.float16 and q_THqD.dim() == 3:
        factor = _scale(scale, q_THqD.shape[2])
        return _prefill_scaled_scores(q_THqD * factor, *args, scale=1.0)
    return _prefill_scaled_scores(q_THqD, *args, scale=scale)
