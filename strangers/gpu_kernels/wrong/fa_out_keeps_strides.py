# base: plain
# bug: H = 2 and T = 3: right a contiguous output, wrong a transposed view of [B, T, H, D]
# problem: flash_attention
# says: "What you return is new, contiguous and on the device of the inputs."
def flash_attention(
    q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor]:
    _check_attention(q_BHTD, k_BGSD, v_BGSD)
    B, H, T, D = q_BHTD.shape
    G, S = k_BGSD.shape[1:3]
    out, lse = _zeros(q_BHTD, (B, T, H, D)).transpose(1, 2), _new(q_BHTD, (B, H, T), torch.float32)
    dense = _new(q_BHTD)
    if B and H:
        _attention_kernel[(triton.cdiv(T, 32) * B * H,)](
            q_BHTD, k_BGSD, v_BGSD, dense, lse, *q_BHTD.stride(), *k_BGSD.stride(), *v_BGSD.stride(),
            H, G, T, S, D, _scale(scale, D), CAUSAL=bool(causal), BT=32, BS=32,
            BD=max(16, triton.next_power_of_2(D)),
        )
    out.copy_(dense)
    return out, lse
