# base: dataclass_helpers
# bug: length 1 and T = 3: queries 0 and 1 see nothing and must give zeros, give the plain mean of the valid values
# problem: decode_attention
# says: "A query that sees nothing (lengths_B[b] of 0, or fewer than T) gives zeros."

@dataclass(frozen=True)
class Problem:
    """Attention of one call, sizes checked."""

    q: Tensor
    k: Tensor
    v: Tensor
    lengths: Tensor

    def __post_init__(self):
        if self.q.ndim != 4 or self.k.ndim != 4 or self.v.ndim != 4 or self.lengths.ndim != 1:
            raise ValueError("rank")
        B, Hq, T, D = self.q.shape
        _, H, S, _ = self.k.shape
        if tuple(self.k.shape) != (B, H, S, D) or self.k.shape != self.v.shape:
            raise ValueError("shape")
        if len(self.lengths) != B or T < 1 or H < 1 or Hq % H:
            raise ValueError("size")
        if self.q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError("dtype")
        if self.k.dtype != self.q.dtype or self.v.dtype != self.q.dtype:
            raise ValueError("dtype")
        if self.lengths.dtype != torch.int64:
            raise ValueError("lengths must be int64")
        if B and not (0 <= int(self.lengths.min()) and int(self.lengths.max()) <= S):
            raise ValueError("length out of range")

    def row(self, b: int, scale: float) -> Tensor:
        n = int(self.lengths[b])
        Hq, T, D = self.q.shape[1:]
        H = self.k.shape[1]
        q = self.q[b].float().view(H, -1, T, D) if self.q[b].is_contiguous() else (
            self.q[b].float().reshape(H, -1, T, D))
        k, v = self.k[b, :, :n].float(), self.v[b, :, :n].float()
        own = torch.arange(n - T, n, device=q.device)
        see = torch.arange(n, device=q.device)[None] <= own[:, None]
        scores = (q.flatten(1, 2) @ k.transpose(1, 2)).view(H, -1, T, n) * scale
        scores = scores.masked_fill(~see, torch.finfo(torch.float32).min)
        w = scores.softmax(-1)
        return (w.flatten(1, 2) @ v).view(Hq, T, D)


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    problem = Problem(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    out = torch.zeros(q_BHqTD.shape, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    scale = q_BHqTD.shape[-1] ** -0.5 if scale is None else scale
    for b in range(len(out)):
        if lengths_B[b] > 0:
            out[b] = problem.row(b, scale).to(out.dtype)
    return out
