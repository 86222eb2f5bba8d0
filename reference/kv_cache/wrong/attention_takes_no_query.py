# base = "solution"
# caught_by = "decode_attention.bad_input"
# cause = "wrong_error"
# also_fails = []
"""Answers no query with nothing."""
# ruff: noqa: F821 - appended to solution.py

_strict = _require_attention


def _require_attention(q, k, v, lengths):
    if q.dim() == 4 and q.shape[2] == 0:
        q = q.new_empty(*q.shape[:2], 1, q.shape[3])
    _strict(q, k, v, lengths)
