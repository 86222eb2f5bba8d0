# base: recursion
# bug: lengths_B as int32: must raise ValueError, is answered
# problem: decode_attention
# says: "ValueError: if a rank, size or dtype differs from the above"

def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    q, k, v = q_BHqTD, k_BHSD, v_BHSD
    _check_all([(q.dim() == 4, "rank of q"), (k.dim() == 4, "rank of k"),
                (v.dim() == 4, "rank of v"), (lengths_B.dim() == 1, "rank of lengths")])
    B, Hq, T, D = q.shape
    H, S = k.shape[1], k.shape[2]
    _check_all([
        (k.shape == (B, H, S, D), "shape of k"),
        (v.shape == k.shape, "shape of v"),
        (lengths_B.shape == (B,), "shape of lengths"),
        (T >= 1 and H >= 1, "T and H"),
        (q.dtype in (torch.float32, torch.float16, torch.bfloat16), "dtype of q"),
        (k.dtype == q.dtype and v.dtype == q.dtype, "dtypes differ"),
        (not lengths_B.is_floating_point(), "dtype of lengths"),
    ])
    lengths = lengths_B.tolist()
    _check_all([(Hq % H == 0, "Hq"),
                (min(lengths, default=0) >= 0 and max(lengths, default=0) <= S, "length")])
    factor = D ** -0.5 if scale is None else scale

    def rows(lo, hi):
        if hi - lo > 1:
            mid = (lo + hi) // 2
            return rows(lo, mid) + rows(mid, hi)
        if hi == lo or lengths[lo] == 0:
            return [torch.zeros(Hq, T, D, dtype=q.dtype, device=q.device)] * (hi - lo)
        n = lengths[lo]
        own = torch.arange(n - T, n, device=q.device).repeat(Hq // H)
        query = q[lo].float().reshape(H, -1, D) * factor
        out, _ = _tree(query, own,
                       lambda a, b: (k[lo, :, a:b].float(), v[lo, :, a:b].float()), 0, n)
        return [out.reshape(Hq, T, D).to(q.dtype)]

    return torch.stack(rows(0, B)) if B else torch.zeros_like(q)
