# base = "solution"
# caught_by = "paged_prefill.whole_prompts"
# cause = "crash"
# also_fails = ["paged_prefill.combinations"]

"""Takes float32 alone."""

# ruff: noqa: F821 - appended to solution.py

_before_prefill_refuses_half = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    _require(q_THqD.dtype == torch.float32, "only float32")
    return _before_prefill_refuses_half(*args, scale=scale)
