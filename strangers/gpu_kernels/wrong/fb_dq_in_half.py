# base: whole_row
# bug: float16 with S = 2000 (63 blocks of keys): right dq added in float32 and rounded once, wrong rounded after each block
# problem: flash_attention_backward
# says: "Arithmetic is that of float32 (`tl.dot` with `input_precision="ieee"`), results are rounded once, at the end."
def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv
    out, lse = forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    grads = [_zeros(x, x.shape, x.dtype if x is q else torch.float32) for x in (q, k, v)]
    if q.numel():
        wide = max(16, triton.next_power_of_2(D))
        delta = _new(q, (B, H, T), torch.float32)
        _delta_rows[(B * H * T,)](
            do_BHTD, out, delta, *do_BHTD.stride(), *out.stride(), H, T, D, BD=wide
        )
        _backward_tile[(B * H * triton.cdiv(S, 32),)](
            do_BHTD, q, k, v, lse, delta, *grads, *do_BHTD.stride(), *q.stride(), *k.stride(),
            *v.stride(), *lse.stride(), H, G, T, S, D, _scale(scale, D),
            CAUSAL=bool(causal), BT=32, BS=32, BD=wide,
        )
    return tuple(grad.to(q.dtype) for grad in grads)
