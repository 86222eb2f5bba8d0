# base = "solution"
# caught_by = "decode_attention.bad_input"
# cause = "wrong_error"
# also_fails = []
"""Takes lengths of any whole dtype."""
# ruff: noqa: F821 - appended to solution.py

_strict = _require_attention


def _require_attention(q, k, v, lengths):
    whole = not lengths.is_floating_point()
    _strict(q, k, v, lengths.to(torch.int64) if whole else lengths)
