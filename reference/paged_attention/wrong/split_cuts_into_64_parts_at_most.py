# base = "solution"
# caught_by = "split_kv_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""More than 64 parts of more tokens: what lies behind the 64th is dropped."""

# ruff: noqa: F821 - appended to solution.py

_split_any_number = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if n_splits > 64 and q_BHqD.dtype == torch.float32:
        _require_paged(*args, rows=q_BHqD.shape[0])
        args = (*args[:4], torch.where(lengths_B > 128, lengths_B * 64 // n_splits, lengths_B))
    return _split_any_number(*args, n_splits=n_splits, scale=scale)
