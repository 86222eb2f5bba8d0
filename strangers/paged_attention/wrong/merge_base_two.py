# base: linked
# bug: two parts with lse 0; right: lse log 2 = 0.693; wrong: 1 (o is right, and one part alone too)
# problem: split_kv_decode
# says: "natural logarithm of the sum of exp(score)"


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    _refuse_unless(o_CBHqD.dim() == 4 and lse_CBHq.dim() == 3)
    _refuse_unless(o_CBHqD.shape[:3] == lse_CBHq.shape and lse_CBHq.shape[0] >= 1)
    _refuse_unless(o_CBHqD.dtype == torch.float32 and lse_CBHq.dtype == torch.float32)
    c, b, hq, d = o_CBHqD.shape
    top = lse_CBHq.max(dim=0).values
    top = torch.where(top == -math.inf, 0.0, top)
    total = torch.zeros(b, hq, device=top.device)
    o = torch.zeros(b, hq, d, device=top.device)
    for i in range(c):
        weight = torch.exp(lse_CBHq[i] - top)
        total += weight
        here = lse_CBHq[i] > -math.inf
        o[here] += weight[here][:, None] * o_CBHqD[i][here]
    some = total > 0
    o[some] /= total[some][:, None]
    lse = torch.full((b, hq), -math.inf, device=top.device)
    lse[some] = torch.log2(total[some]) + top[some]
    return o, lse
