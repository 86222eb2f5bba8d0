# base: preallocated
# bug: a gradient with a NaN and no inf: right: the norm returned is inf; wrong: NaN
# problem: clip_and_step
# says: "The norm before clipping, a float32 scalar, inf if a gradient overflows"


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and scale != math.inf) or not max_norm >= 0:
        raise ValueError("scale or max_norm")
    gradients = _gradients(optimizer)
    _divide_in_place(gradients, scale)
    result = torch.empty((), dtype=torch.float32)
    if _count_overflows(gradients):
        norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
        return torch.linalg.vector_norm(torch.stack(norms)).float(), False
    norms = torch.zeros(len(gradients), dtype=torch.float64)
    scratch = _scratch_for(gradients, torch.float64)
    for i, g in enumerate(gradients):
        wide = scratch[: g.numel()]
        wide.view(g.shape).copy_(g)
        norms[i] = torch.linalg.vector_norm(wide)
    norm = torch.linalg.vector_norm(norms).item()
    if norm > max_norm:
        for g in gradients:
            wide = scratch[: g.numel()].view(g.shape)
            wide.copy_(g)
            g.copy_(wide.mul_(max_norm / norm))
    optimizer.step()
    return result.fill_(norm), True
