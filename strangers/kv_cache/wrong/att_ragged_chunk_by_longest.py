# base: einsum_lazy
# bug: lengths (3, 7) and T = 2: the queries of the shorter row stand at 1 and 2, are placed at 5 and 6, so that query 0 sees token 2
# problem: decode_attention
# says: "query t stands at position `lengths_B[b] - T + t`"

def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    _assert((q.dim(), k.dim(), v.dim(), lengths_B.dim()) == (4, 4, 4, 1), "rank")
    b, hq, t, d = q.shape
    h, s = k.shape[1], k.shape[2]
    _assert(list(k.shape) == [b, h, s, d] and list(v.shape) == [b, h, s, d], "shape")
    _assert(list(lengths_B.shape) == [b] and t > 0 and h > 0 and hq % h == 0, "size")
    _assert(q.dtype in (torch.float32, torch.float16, torch.bfloat16), "dtype of q")
    _assert(k.dtype == v.dtype == q.dtype and lengths_B.dtype == torch.int64, "dtype")
    top = int(lengths_B.max()) if b else 0
    _assert(b == 0 or (int(lengths_B.min()) >= 0 and top <= s), "length")
    dev = q.device
    out = torch.zeros(b, h, hq // h, t, d, device=dev)
    if top:
        n = lengths_B.to(dev)
        at = torch.arange(top, device=dev)
        own = (top - t + torch.arange(t, device=dev)).expand(b, t)
        see = ((at <= own[..., None]) & (at < n[:, None, None]))[:, None, None]                      # b 1 1 t s
        # Unused room goes out with the data itself: where, not a product.
        live = (at < n[:, None])[:, None, :, None]
        k = k[:, :, :top].float().masked_fill(~live, 0) if not bool(live.all()) else k[:, :, :top].float()
        v = v[:, :, :top].float().masked_fill(~live, 0) if not bool(live.all()) else v[:, :, :top].float()
        q = q.float().reshape(b, h, hq // h, t, d)
        score = torch.einsum("bhgtd,bhsd->bhgts", q, k) * (1 / math.sqrt(d) if scale is None else scale)
        score = score.masked_fill(~see, -math.inf)
        weight = torch.where(see, score.softmax(-1), torch.zeros((), device=dev))
        out = torch.einsum("bhgts,bhsd->bhgtd", weight, v)
    return out.reshape(b, hq, t, d).to(q_BHqTD.dtype)
