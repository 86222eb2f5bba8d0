# base: online
# bug: two pages, two heads, the maximum rises on page 1 for head 0 only; right: what head 0 has summed up is rescaled; wrong: not
# problem: paged_decode
# says: "The query sees all of them"


class _Rising:
    """Softmax of what has been seen so far, for the heads of one query."""

    def __init__(self, q_HqD: Tensor, n_heads: int, scale: float) -> None:
        hq, d = q_HqD.shape
        self._q_HGD = q_HqD.reshape(n_heads, hq // n_heads, d).float() * scale
        self.max_HG = self._q_HGD.new_full(self._q_HGD.shape[:2], NEG)
        self.sum_HG = self._q_HGD.new_zeros(self._q_HGD.shape[:2])
        self.o_HGD = torch.zeros_like(self._q_HGD)

    def add(self, k_NHD: Tensor, v_NHD: Tensor) -> None:
        s_HGN = self._q_HGD @ k_NHD.float().permute(1, 2, 0)
        new_HG = torch.maximum(self.max_HG, s_HGN.amax(2))
        w_HGN = torch.exp(s_HGN - new_HG[..., None])
        old_HG = torch.exp(self.max_HG - new_HG)
        if not bool((s_HGN.amax(2) > self.max_HG).all()):
            old_HG = torch.ones_like(old_HG)  # nothing to rescale
        self.sum_HG = self.sum_HG * old_HG + w_HGN.sum(2)
        self.o_HGD = self.o_HGD * old_HG[..., None] + w_HGN @ v_NHD.float().transpose(0, 1)
        self.max_HG = new_HG

    def output(self) -> Tensor:
        safe = torch.where(self.sum_HG > 0, self.sum_HG, torch.ones_like(self.sum_HG))
        return (self.o_HGD / safe[..., None]).flatten(0, 1)

    def lse(self) -> Tensor:
        return (self.max_HG + torch.log(self.sum_HG)).flatten()


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _check_pages(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _need(q_BHqD.shape[0] == table_BL.shape[0], "one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n, h = k_PNHD.shape[1:3]
    out = torch.empty(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, (row, length) in enumerate(zip(table_BL.tolist(), lengths_B.tolist())):
        state = _Rising(q_BHqD[b], h, scale)
        for page, first, last in _stretches(row, n, 0, length):
            state.add(k_PNHD[page, first:last], v_PNHD[page, first:last])
        out[b] = state.output().to(out.dtype)
    return out
