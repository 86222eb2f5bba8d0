# base: vectorised
# bug: gradients of norm 1e-5, max_norm 1e-6: right: norm 1e-6 after clipping; wrong: 10 % less, divided by norm + 1e-6
# problem: clip_and_step
# says: "gradients are multiplied by max_norm / norm."


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and math.isfinite(scale) and max_norm >= 0):
        raise ValueError("scale or max_norm")
    gradients = list(_gradients(optimizer).values())
    _divide_all(gradients, scale)
    if _any_overflow(gradients):
        return torch.tensor(torch.inf), False
    norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
    norm = torch.stack(norms).norm() if norms else torch.zeros((), dtype=torch.float64)
    if norm > max_norm:
        for g in gradients:
            g.copy_(g.double() * (max_norm / (norm + 1e-6)))
    optimizer.step()
    return norm.float(), True
