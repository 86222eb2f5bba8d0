# base: plain_loops
# bug: float16 with scores near 40: the score must be accumulated and kept in float32, is rounded to float16 before softmax (1 % off)
# problem: decode_attention
# says: "Half precision is accumulated in float32."

def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    if q_BHqTD.dim() != 4 or k_BHSD.dim() != 4 or v_BHSD.dim() != 4 or lengths_B.dim() != 1:
        raise ValueError("wrong rank")
    if q_BHqTD.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("q must be float32, float16 or bfloat16")
    if k_BHSD.dtype != q_BHqTD.dtype or v_BHSD.dtype != q_BHqTD.dtype:
        raise ValueError("dtypes differ")
    if lengths_B.dtype != torch.int64:
        raise ValueError("lengths must be int64")
    B, Hq, T, D = q_BHqTD.shape
    H, S = k_BHSD.shape[1], k_BHSD.shape[2]
    if T < 1 or k_BHSD.shape != (B, H, S, D) or v_BHSD.shape != k_BHSD.shape:
        raise ValueError("sizes do not fit")
    if lengths_B.shape[0] != B or H < 1 or Hq % H != 0:
        raise ValueError("sizes do not fit")
    lengths = lengths_B.tolist()
    for n in lengths:
        if n < 0 or n > S:
            raise ValueError("length outside 0 ... S")
    if scale is None:
        scale = 1 / math.sqrt(D)
    G = Hq // H
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b in range(B):
        n = lengths[b]
        for h in range(H):
            if n == 0:
                continue
            k = k_BHSD[b, h, :n]
            v = v_BHSD[b, h, :n].float()
            for g in range(G):
                for t in range(T):
                    seen = n - T + t + 1
                    if seen <= 0:
                        continue
                    q = q_BHqTD[b, h * G + g, t]
                    s = (k[:seen] @ q).float() * scale
                    w = torch.exp(s - s.max())
                    out[b, h * G + g, t] = ((w @ v[:seen]) / w.sum()).to(out.dtype)
    return out
