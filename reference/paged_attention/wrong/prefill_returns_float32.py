# base = "solution"
# caught_by = "paged_prefill.whole_prompts"
# cause = "wrong_value"
# also_fails = ["paged_prefill.combinations"]

"""Returns float32 for float16."""

# ruff: noqa: F821 - appended to solution.py

_before_prefill_returns_float32 = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    return _before_prefill_returns_float32(*args, scale=scale).float()
