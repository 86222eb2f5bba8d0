# base = "solution"
# caught_by = "decode_attention.bad_input"
# cause = "wrong_error"
# also_fails = []
"""Takes any floating-point dtype."""
# ruff: noqa: F821 - appended to solution.py

_strict = _require_attention


def _require_attention(q, k, v, lengths):
    if q.dtype == k.dtype == v.dtype == torch.float64:
        q, k, v = q.float(), k.float(), v.float()
    _strict(q, k, v, lengths)
