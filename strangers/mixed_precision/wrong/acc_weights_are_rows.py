# base: generators
# bug: pieces of 2 and 2 rows with 6 and 1 kept targets: right: weights 6/7 and 1/7; wrong: 1/2 each, rows are counted
# problem: accumulate
# says: "Wanted is the mean over all targets of all pieces that are not -100; pieces may differ in size."


def _pieces(model, micro_batches, scale, leaves) -> Iterator[tuple[int, Tensor, list]]:
    """One piece's targets, loss and gradients at a time; its graph is gone before it comes."""
    for inputs, targets in micro_batches:
        n = int((targets != -100).sum())
        if n > 0:
            yield targets.shape[0], *_one(model, inputs, targets, scale, leaves)


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
    if not any(bool((targets != -100).any()) for _, targets in micro_batches):
        raise ValueError("no target")
    parameters = list(model.parameters())
    leaves = [p for p in parameters if p.requires_grad]
    sums = [None] * len(leaves)
    total, loss_sum = 0, 0.0
    for n, loss, found in _pieces(model, micro_batches, scale, leaves):
        total += n
        loss_sum = loss_sum + loss.double() * n
        for i, g in enumerate(found):
            if g is not None:
                sums[i] = g.float() * n if sums[i] is None else sums[i].add_(g.float(), alpha=n)
        del found
    for p in parameters:
        p.grad = None
    means = iter([None if s is None else s / total / scale for s in sums])
    return (loss_sum / total).float(), [next(means) if p.requires_grad else None for p in parameters]
