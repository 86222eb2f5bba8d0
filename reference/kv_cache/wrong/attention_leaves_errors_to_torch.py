# base = "solution"
# caught_by = "decode_attention.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Checks lengths, and lets torch complain of everything else."""

# ruff: noqa: F821 - appended to solution.py

_attend_refusing = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    try:
        return _attend_refusing(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    except ValueError as error:
        if "length" in str(error):
            raise
        raise RuntimeError(str(error)) from error
