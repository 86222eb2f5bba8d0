# base: sdpa_torch
# bug: lengths_B = (-1, 2): must raise ValueError, row 0 is answered with zeros
# problem: decode_attention
# says: "or a length lies outside 0 … S"

def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    if {q.dim(), k.dim(), v.dim()} != {4} or lengths_B.dim() != 1:
        raise ValueError("rank")
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("dtype of q")
    if k.dtype != q.dtype or v.dtype != q.dtype or lengths_B.dtype != torch.int64:
        raise ValueError("dtype")
    (B, Hq, T, D), H, S = q.shape, k.size(1), k.size(2)
    if k.shape != v.shape or k.size(0) != B or k.size(3) != D or lengths_B.size(0) != B:
        raise ValueError("size")
    if T == 0 or H == 0 or Hq % H:
        raise ValueError("T or heads")
    lengths = lengths_B.tolist()
    if max(lengths, default=0) > S:
        raise ValueError("length")
    lengths = [max(0, n) for n in lengths]
    scale = 1 / math.sqrt(D) if scale is None else float(scale)
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    for b, n in enumerate(lengths):
        t = min(T, n)  # the first T - t queries see nothing
        if t == 0:
            continue
        see = torch.ones(t, n, dtype=torch.bool, device=q.device).tril(n - t)
        group = q[b, :, T - t :].float().unflatten(0, (H, Hq // H)).flatten(1, 2)
        att = F.scaled_dot_product_attention(
            group, k[b, :, :n].float(), v[b, :, :n].float(),
            attn_mask=see.repeat(Hq // H, 1), scale=scale)
        out[b, :, T - t :] = att.view(Hq, t, D).to(q.dtype)
    return out
