# base: per_head
# bug: H = 4 and G = 2: right dv is the sum over both heads that share it, wrong the first stripe of each head overwrites what the head before left
# problem: flash_attention_backward
# says: "The gradient of a key/value head is the sum over all query heads that read it."
def flash_attention_backward(
    do_BHTD: Tensor, qkv: tuple[Tensor, Tensor, Tensor], forward: tuple[Tensor, Tensor], *,
    scale: float | None = None, causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    (q, k, v), (out, lse) = qkv, forward
    _check_attention_backward(do_BHTD, q, k, v, out, lse)
    B, H, T, D = q.shape
    G, S = k.shape[1:3]
    factor, wide = _scale(scale, D), max(16, triton.next_power_of_2(D))
    dq, dk, dv = (_zeros(x, x.shape, torch.float32) for x in (q, k, v))
    for at, kv in _heads(B, H, G):
        for lo, hi in _halves(0, T, 64):
            rows = hi - lo
            stripe = [x[at][lo:hi] for x in (q, do_BHTD, out)]
            sums = lse[at][lo:hi]
            p, ds = _new(q, (rows, S)), _new(q, (rows, S))
            _scores[(triton.cdiv(rows, 32), triton.cdiv(S, 32))](
                stripe[0], k[kv], v[kv], stripe[1], stripe[2], sums, p, ds, lo, rows, T, S, D,
                *stripe[0].stride(), *k[kv].stride(), *v[kv].stride(), *stripe[1].stride(),
                *stripe[2].stride(), sums.stride(0), factor, CAUSAL=bool(causal), BT=32, BS=32, BD=wide,
            )
            clean = [_new(q, (rows, D)) for _ in range(2)]
            for x, y in zip(stripe[:2], clean, strict=True):
                _blank[(rows,)](x, sums, y, D, *x.stride(), sums.stride(0), BD=wide)
            _multiply(ds, k[kv], dq[at][lo:hi], factor)
            _multiply(ds.transpose(0, 1), clean[0], dk[kv], factor, add=True)
            _multiply(p.transpose(0, 1), clean[1], dv[kv], add=lo > 0)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)
