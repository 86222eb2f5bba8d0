# base = "solution"
# caught_by = "flash_attention.grouped_heads"
# cause = "wrong_value"
# also_fails = []

"""Query head h reads key/value head h % G: tiled, not repeated."""

# ruff: noqa: F821 - appended to solution.py

_attend_grouped = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    check_heads(q_BHTD, k_BGSD, v_BGSD)
    (B, G, S, D), H = k_BGSD.shape, q_BHTD.shape[1]
    tiled = [x[:, None].expand(B, H // G, G, S, D).reshape(B, H, S, D) for x in (k_BGSD, v_BGSD)]
    return _attend_grouped(q_BHTD, *tiled, scale=scale, causal=causal)
