# base: preallocated
# bug: many pieces: right: one piece's graph (with what it saves for its backward pass) at a time; wrong: all losses are computed first, all graphs live until the last is differentiated
# problem: accumulate
# says: "Only one piece's graph may live at a time."


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not scale > 0 or scale == math.inf:
        raise ValueError("scale")
    n_pieces = len(micro_batches)
    counts = torch.zeros(n_pieces, dtype=torch.int64)
    for i, (inputs, targets) in enumerate(micro_batches):
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        counts[i] = (targets != -100).sum()
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no target")
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    sums = {id(p): torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in trained}
    touched = set()
    losses = torch.zeros(n_pieces, dtype=torch.float64)
    kept = [i for i in range(n_pieces) if counts[i] > 0]
    waiting = [model.loss(*micro_batches[i]) for i in kept]
    for i in kept:
        loss = waiting.pop(0)
        losses[i] = loss.item() * int(counts[i])
        if trained and loss.requires_grad:
            scaled = loss.to(torch.float32) * scale
            found = torch.autograd.grad(scaled, trained, allow_unused=True)
            for p, g in zip(trained, found):
                if g is not None:
                    touched.add(id(p))
                    sums[id(p)].add_(g.to(torch.float32), alpha=int(counts[i]) / total)
            del scaled, found
        del loss
    result = []
    for p in parameters:
        p.grad = None
        result.append(sums[id(p)].div_(scale) if id(p) in touched else None)
    return (losses.sum() / total).float(), result
