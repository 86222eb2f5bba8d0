# base = "solution"
# caught_by = "paged_decode.combinations"
# cause = "wrong_value"
# also_fails = [
#   "paged_decode.dead_slots",
#   "paged_decode.grouped_heads",
#   "paged_decode.page_sizes",
#   "paged_decode.ragged_contexts",
#   "paged_decode.table_tail",
# ]

"""Without a scale, scores are not scaled."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_scale_one_by_default = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    return _before_decode_scale_one_by_default(
        q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=1.0 if scale is None else scale
    )
