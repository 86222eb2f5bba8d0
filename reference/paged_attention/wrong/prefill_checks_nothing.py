# base = "solution"
# caught_by = "paged_prefill.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Returns zeros for arguments that do not fit."""

# ruff: noqa: F821 - appended to solution.py

_before_prefill_checks_nothing = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    try:
        return _before_prefill_checks_nothing(*args, scale=scale)
    except ValueError:
        return torch.zeros_like(q_THqD)
