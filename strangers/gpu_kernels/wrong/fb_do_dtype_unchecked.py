# base: per_head
# bug: do in float16 with q in float32: right ValueError, wrong an answer
# problem: flash_attention_backward
# says: "ValueError: if q, k and v do not fit as in the forward pass, do or the output is not like q"
def _check_attention_backward(do, q, k, v, out, lse):
    _check_attention(q, k, v)
    for x in (do, out):
        _need(x.shape == q.shape, "do and the output must be like q")
    _need(lse.shape == q.shape[:3] and lse.dtype == torch.float32, "lse must be float32 [B, H, T]")
