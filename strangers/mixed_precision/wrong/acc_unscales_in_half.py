# base: functional
# bug: float16 parameters, gradients of 1e-7, scale 65536: right: 1e-7 in float32 with 3 digits; wrong: divided in float16 first, a subnormal with one digit
# problem: accumulate
# says: "sums over pieces are kept in float32, and are divided by `scale` there."


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (0 < scale < math.inf):
        raise ValueError("scale")
    if any(x.size(0) != y.size(0) for x, y in micro_batches):
        raise ValueError("rows")
    counts = [(y != -100).sum().item() for _, y in micro_batches]
    total = sum(counts)
    if total == 0:
        raise ValueError("no targets")
    parameters = tuple(model.parameters())
    trained = tuple(p for p in parameters if p.requires_grad)

    def one(piece: tuple[Tensor, Tensor]) -> tuple[Tensor, dict]:
        loss = model.loss(*piece)
        if not trained or not loss.requires_grad:
            return loss.detach(), {}
        found = torch.autograd.grad(loss.float() * scale, trained, allow_unused=True)
        return loss.detach(), {p: g for p, g in zip(trained, found) if g is not None}

    def fold(so_far, step):
        piece, n = step
        loss, found = one(piece)
        return (
            so_far[0] + loss.double() * n,
            so_far[1]
            | {p: ((g / scale).float() * (n / total)).add_(so_far[1].get(p, 0)) for p, g in found.items()},
        )

    kept = [(piece, n) for piece, n in zip(micro_batches, counts) if n]
    loss, sums = reduce(fold, kept, (0.0, {}))
    for p in parameters:
        p.grad = None
    return (loss / total).float(), [sums.get(p) for p in parameters]
