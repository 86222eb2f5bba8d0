# base: per_head
# bug: H = 4 and G = 2: right query head 1 reads key/value head 0, wrong head 1; right for G = 1 and G = H
# problem: flash_attention
# says: "query head h reads key/value head h // (H / G)."
def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _new(q_BHTD), _new(q_BHTD, (B, H, T), torch.float32)
    for at, kv in _heads(B, H, G):
        kv = (at[0], at[1] % G)
        q, k, v = q_BHTD[at], k_BGSD[kv], v_BGSD[kv]
        _head[(triton.cdiv(T, 32),)](
            q, k, v, out[at], lse[at], T, S, D, *q.stride(), *k.stride(), *v.stride(),
            _scale(scale, D), CAUSAL=bool(causal), BT=32, BS=64,
            BD=max(16, triton.next_power_of_2(D)),
        )
    return out, lse
