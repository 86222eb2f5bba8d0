# base = "solution"
# caught_by = "paged_decode.page_sizes"
# cause = "crash"
# also_fails = ["paged_decode.combinations"]

"""Takes float32 alone."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_refuses_half = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require(q_BHqD.dtype == torch.float32, "only float32")
    return _before_decode_refuses_half(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
