# base: plain
# bug: lse a sliced view: right its entries, wrong the memory between them
# problem: flash_attention_backward
# says: "They may have any strides: transposed, sliced, or 0 (`expand`)."
def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv
    out, lse = forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    dq, dk, dv = _new(q), _new(k), _new(v)
    strides = [s for x in (do_BHTD, q, k, v, out) for s in x.stride()] + [H * T, T, 1]
    numbers = (H, G, T, S, D, _scale(scale, D))
    meta = dict(CAUSAL=bool(causal), BT=32, BS=32, BD=max(16, triton.next_power_of_2(D)))
    if B and H:
        _dq_kernel[(triton.cdiv(T, 32) * B * H,)](
            do_BHTD, q, k, v, out, lse, dq, *strides, *numbers, **meta
        )
    if B:
        _dkv_kernel[(triton.cdiv(S, 32) * B * G,)](
            do_BHTD, q, k, v, out, lse, dk, dv, *strides, *numbers, **meta
        )
    return dq, dk, dv
