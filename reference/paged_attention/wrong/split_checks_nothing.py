# base = "solution"
# caught_by = "split_kv_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Returns zeros for arguments that do not fit."""

# ruff: noqa: F821 - appended to solution.py

_before_split_checks_nothing = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    args = (q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    try:
        return _before_split_checks_nothing(*args, n_splits=n_splits, scale=scale)
    except ValueError:
        if n_splits < 1:
            raise
        return torch.zeros_like(q_BHqD), torch.zeros(q_BHqD.shape[:2])
