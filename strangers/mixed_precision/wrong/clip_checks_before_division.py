# base: plain_loops
# bug: gradient 1e20 with scale 1e-25 (finite before, inf after the division): right: (inf, False) and no step; wrong: a step with an infinite gradient
# problem: clip_and_step
# says: "If one overflows now, nothing else happens: the optimizer takes no step."


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not 0 < scale < math.inf:
        raise ValueError("scale")
    if not max_norm >= 0:
        raise ValueError("max_norm")
    gradients = []
    for p in _unique(optimizer.params):
        if p.grad is not None:
            if p.grad.dtype not in (torch.float32, torch.bfloat16):
                raise ValueError("dtype of a gradient")
            gradients.append(p.grad)
    overflow = any(_overflows(g) for g in gradients)
    for g in gradients:
        _divide_(g, scale)
    for _ in gradients:
        if overflow:
            return torch.tensor(math.inf, dtype=torch.float32), False
    total = 0.0
    for g in gradients:
        total += float(g.to(torch.float64).square().sum())
    norm = math.sqrt(total)
    if norm > max_norm:
        for g in gradients:
            g.copy_(g.to(torch.float64) * (max_norm / norm))
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True
