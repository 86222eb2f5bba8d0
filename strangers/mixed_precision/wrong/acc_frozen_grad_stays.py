# base: dataclasses_style
# bug: a frozen parameter that has a grad before the call: right: None afterwards; wrong: it stays, only parameters that want a gradient are cleared
# problem: accumulate
# says: "every parameter is None afterwards, whatever it was before, and was no part of the sum."


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (0 < scale and math.isfinite(scale)):
        raise ValueError("scale")
    pieces = [Piece(inputs, targets) for inputs, targets in micro_batches]
    total = sum(piece.kept for piece in pieces)
    if total == 0:
        raise ValueError("nothing to learn from")
    sums = Sums(list(model.parameters()), scale)
    for piece in pieces:
        if piece.kept:
            sums.add(model.loss(piece.inputs, piece.targets), piece.kept / total)
    for p in sums.parameters:
        if p.requires_grad:
            p.grad = None
    return torch.tensor(sums.loss, dtype=torch.float32), sums.gradients()
