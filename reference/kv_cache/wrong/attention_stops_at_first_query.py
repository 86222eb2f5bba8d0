# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Leaves out the blocks of 64 keys that the first query of a chunk does not see."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    T, out = q_BHqTD.shape[2], []
    for row, length in enumerate(lengths_B.tolist()):
        blocks = max(0, length - T) // 64 + 1
        end = min(length, blocks * 64)
        part = [x[row : row + 1] for x in (q_BHqTD, k_BHSD[:, :, :end], v_BHSD[:, :, :end])]
        seen = _causal(lengths_B[row : row + 1], T, end)
        factor = 1 / math.sqrt(q_BHqTD.shape[3]) if scale is None else scale
        out.append(_attend(*part, seen, factor))
    return torch.cat(out)
