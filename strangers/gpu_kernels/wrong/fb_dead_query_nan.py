# base: transposed
# bug: causal with T = 40 and S = 3: right the first 37 queries, with a log-sum-exp of -inf, add nothing, wrong exp(s + inf) · 0 is NaN and reaches dk and dv
# problem: flash_attention_backward
# says: "A query that saw no key has a log-sum-exp of −inf and adds nothing to any gradient."
@triton.jit
def _weights_t(kt, vt, qt, x, y, l, t, s, T, S, scale, CAUSAL: tl.constexpr):
    # p and ds of a tile, [keys, queries]; qt, x and y are [D, queries].
    live = l > -float("inf")
    see = _unmasked(t, s, T, S, CAUSAL) & live[None, :]
    z = tl.dot(kt, qt, input_precision="ieee") * scale - tl.where(t < T, l, 0.0)[None, :]
    p = tl.exp(z) * see.to(tl.float32)
    delta = tl.sum(x.to(tl.float32) * y.to(tl.float32), 0)
    dp = tl.dot(vt, x, input_precision="ieee") - delta[None, :]
    return p, p * dp
