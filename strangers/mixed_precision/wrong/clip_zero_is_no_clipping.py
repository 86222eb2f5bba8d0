# base: generators
# bug: max_norm 0 and a norm of 5: right: gradients become 0; wrong: they stay, 0 is taken for no clipping
# problem: clip_and_step
# says: "max_norm: at least 0; inf for no clipping."


def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    if not max_norm >= 0:
        raise ValueError("max_norm")
    parameters = list(_divided(_checked(optimizer), scale))
    if any(_bad_entries(p.grad) for p in parameters):
        return torch.tensor(math.inf, dtype=torch.float32), False
    norm = math.sqrt(math.fsum(p.grad.double().pow(2).sum().item() for p in parameters))
    if max_norm and norm > max_norm:
        with torch.no_grad():
            for p in parameters:
                p.grad.copy_(p.grad.double() * max_norm / norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True
