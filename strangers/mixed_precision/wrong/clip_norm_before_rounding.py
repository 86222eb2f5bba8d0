# base: chunked
# bug: bfloat16 gradients and scale 3: right: the norm of the divided and rounded gradients; wrong: the norm of the float32 quotients, off by up to 2e-3
# problem: clip_and_step
# says: "over all entries of all gradients, tied ones once, to float32's precision"


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (0 < scale < math.inf and max_norm >= 0):
        raise ValueError("scale or max_norm")
    gradients = [p.grad for p in _to_unscale(optimizer)]
    quotients = [g.float() / scale for g in gradients]
    for g, q in zip(gradients, quotients):
        g.copy_(q)
    if not all(_finite(g) for g in gradients):
        return torch.full((), math.inf), False
    squares = []
    for g in quotients:
        flat = g.reshape(-1)
        for tile in _tiles(flat.numel()):
            squares.append(float(flat[tile].double().square().sum()))
    norm = math.sqrt(math.fsum(squares))
    if norm > max_norm:
        for g in gradients:
            g.copy_(g.double().mul_(max_norm).div_(norm))
    optimizer.step()
    return torch.full((), norm, dtype=torch.float32), True
