# base: vectorised
# bug: NaN in the values from lengths_B[b] on: the result must be finite, is NaN (weight 0 times NaN)
# problem: decode_attention
# says: "Keys and values at positions from lengths_B[b] on are undefined, NaN and inf included, and must not influence the result."

def decode_attention(q_BHqTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, lengths_B: Tensor, *,
                     scale: float | None = None) -> Tensor:
    if not (q_BHqTD.ndim == k_BHSD.ndim == v_BHSD.ndim == 4 and lengths_B.ndim == 1):
        raise ValueError("wrong rank")
    B, Hq, T, D = q_BHqTD.shape
    _, H, S, _ = k_BHSD.shape
    if k_BHSD.shape != (B, H, S, D) or v_BHSD.shape != k_BHSD.shape or lengths_B.shape != (B,):
        raise ValueError("sizes differ")
    if T < 1 or H < 1 or Hq % H:
        raise ValueError("T must be at least 1 and Hq a multiple of H")
    if q_BHqTD.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("dtype of q")
    if not (k_BHSD.dtype == v_BHSD.dtype == q_BHqTD.dtype and lengths_B.dtype == torch.int64):
        raise ValueError("dtypes differ")
    if bool(((lengths_B < 0) | (lengths_B > S)).any()):
        raise ValueError("a length lies outside 0 ... S")
    scale = D ** -0.5 if scale is None else scale
    G = Hq // H
    lengths_B = lengths_B.to(q_BHqTD.device)
    s_index = torch.arange(S, device=q_BHqTD.device)
    alive_BS = s_index < lengths_B[:, None]
    own_BT = lengths_B[:, None] - T + torch.arange(T, device=q_BHqTD.device)
    see_BTS = (s_index <= own_BT[:, :, None]) & alive_BS[:, None]
    q = q_BHqTD.float().reshape(B, H, G * T, D)
    k = k_BHSD.float()
    v = v_BHSD.float()
    scores = torch.matmul(q, k.transpose(2, 3)).mul_(scale).view(B, H, G, T, S)
    scores = scores.masked_fill_(~see_BTS[:, None, None], -math.inf)
    if S == 0:
        return torch.zeros_like(q_BHqTD, memory_format=torch.contiguous_format)
    top = scores.amax(-1, keepdim=True)
    top = torch.where(top == -math.inf, 0.0, top)
    w = scores.sub_(top).exp_()
    total = w.sum(-1, keepdim=True)
    out = torch.matmul(w.view(B, H, G * T, S), v).view(B, H, G, T, D)
    out = torch.where(total > 0, out / total.clamp_min(1e-30), 0.0)
    return out.view(B, Hq, T, D).to(q_BHqTD.dtype)
