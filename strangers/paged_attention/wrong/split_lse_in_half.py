# base: subclass
# bug: float16 q; right: lse float32; wrong: lse is float16
# problem: split_kv_decode
# says: "lse_BHq: float32; the natural logarithm of the sum of exp(scale * score)"


class _Split(_Attention):
    def run(self, n_splits: int) -> tuple[Tensor, Tensor]:
        out = torch.zeros(self.q.shape, dtype=self.q.dtype, device=self.q.device)
        lse = torch.full_like(self.q[:, :, 0], -math.inf)
        for b, length in enumerate(self.lengths):
            step = -(-length // n_splits)
            firsts = range(0, length, step) if length else ()
            parts = [self.one(b, first, min(first + step, length)) for first in firsts]
            if parts:
                o_C, lse_C = (torch.stack(x).unsqueeze(1) for x in zip(*parts))
                o, whole = merge_splits(o_C, lse_C)
                out[b], lse[b] = o[0].to(out.dtype), whole[0]
        return out, lse
