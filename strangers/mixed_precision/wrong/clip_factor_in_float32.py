# base: recursive_enum
# bug: gradients 1e38 with max_norm 1e-10: right: clipped to 1e-10; wrong: 0, the factor 1e-48 is 0 in float32
# problem: clip_and_step
# says: "gradients are multiplied by max_norm / norm."


def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    owners = _owners(optimizer)
    _refuse_half(owners)
    if not (scale > 0 and scale < math.inf):
        raise ValueError("scale")
    if not max_norm >= 0:
        raise ValueError("max_norm")
    for p in owners:
        _divide(p, scale)
    if not _finite([p.grad for p in owners]):
        return torch.tensor(math.inf), False
    with torch.no_grad():
        squares = sum((_sum_of_squares(p.grad.reshape(-1)) for p in owners), torch.tensor(0.0).double())
        norm = squares.sqrt()
        if norm > max_norm:
            for p in owners:
                p.grad.mul_((max_norm / norm).float())
    optimizer.step()
    return norm.float(), True
