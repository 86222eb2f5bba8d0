# base = "solution"
# caught_by = "paged_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes the rows of the table to lie behind one another, as a kernel without their strides."""

# ruff: noqa: F821 - appended to solution.py

_decode_strided_table = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    if not table_BL.is_contiguous():
        size = 1 + sum((n - 1) * s for n, s in zip(table_BL.shape, table_BL.stride(), strict=True))
        flat = table_BL.as_strided((size,), (1,))
        flat = torch.nn.functional.pad(flat, (0, table_BL.numel()))[: table_BL.numel()]
        table_BL = flat.view(table_BL.shape).clamp(0, k_PNHD.shape[0] - 1)
    return _decode_strided_table(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
