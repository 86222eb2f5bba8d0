# base: chunked
# bug: a parameter that has a gradient in the second piece only: right: its gradient; wrong: None, who had none in the first piece is left out
# problem: accumulate
# says: "or None if it had none in any piece"


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not 0 < scale < math.inf:
        raise ValueError("scale")
    counts = []
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        counts.append(targets.numel() - int((targets == -100).sum()))
    total = sum(counts)
    if total < 1:
        raise ValueError("no targets")
    parameters = list(model.parameters())
    places = {i: p for i, p in enumerate(parameters) if p.requires_grad}
    sums: list[Tensor | None] = [None] * len(parameters)
    loss_sum = 0.0

    def add(inputs, targets, n):
        loss = model.loss(inputs, targets)
        if places and loss.requires_grad:
            # one parameter's float32 gradient at a time
            found = torch.autograd.grad(
                loss.to(torch.float32) * scale, list(places.values()), allow_unused=True
            )
            for i, g in zip(list(places), found):
                if g is None:
                    del places[i]  # not part of this loss
                else:
                    if sums[i] is None:
                        sums[i] = torch.zeros(g.shape, dtype=torch.float32, device=g.device)
                    sums[i].add_(g.float(), alpha=n / total)
        return float(loss.detach()) * (n / total)

    for (inputs, targets), n in zip(micro_batches, counts):
        if n > 0:
            loss_sum += add(inputs, targets, n)
    for s in sums:
        if s is not None:
            s.div_(scale)
    for p in parameters:
        p.grad = None
    return torch.tensor(loss_sum, dtype=torch.float32), sums
