# base: online_tiles
# bug: Hq = 2H and T = 2: rows of a group are [g, t], the mask is laid out as [t, g]; query (g=1, t=0) sees a token too many
# problem: decode_attention
# says: "query t stands at position `lengths_B[b] - T + t` and sees every valid position up to its own"

def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require(q_BHqTD.dim() == 4, "rank of q")
    _require(k_BHSD.dim() == 4 and v_BHSD.dim() == 4, "rank of k, v")
    _require(lengths_B.dim() == 1, "rank of lengths")
    B, Hq, T, D = q_BHqTD.shape
    H, S = k_BHSD.shape[1:3]
    _require(T >= 1, "T must be at least 1")
    _require(tuple(k_BHSD.shape) == (B, H, S, D), "shape of k")
    _require(tuple(v_BHSD.shape) == (B, H, S, D), "shape of v")
    _require(lengths_B.shape[0] == B, "one length per row")
    _require(H >= 1 and Hq % H == 0, "Hq must be a multiple of H")
    _require(q_BHqTD.dtype in {torch.float32, torch.float16, torch.bfloat16}, "dtype of q")
    _require(k_BHSD.dtype == q_BHqTD.dtype == v_BHSD.dtype, "dtypes differ")
    _require(lengths_B.dtype == torch.int64, "lengths are int64")
    lengths = [int(n) for n in lengths_B]
    _require(all(0 <= n <= S for n in lengths), "a length lies outside 0 ... S")
    factor = 1.0 / math.sqrt(D) if scale is None else scale
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b, n in enumerate(lengths):
        q = (q_BHqTD[b].float() * factor).reshape(H, (Hq // H) * T, D)
        own = torch.arange(n - T, n, device=q.device).repeat_interleave(Hq // H)

        def kv(lo, hi, b=b):
            return k_BHSD[b, :, lo:hi].float(), v_BHSD[b, :, lo:hi].float()

        def hide(lo, hi, own=own):
            return torch.arange(lo, hi, device=own.device) > own[:, None]

        out[b] = _online(q, kv, n, hide).view(Hq, T, D).to(out.dtype)
    return out
