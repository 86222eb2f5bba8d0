# base: plain_loops
# bug: a model whose loss has a + b for two float32 parameters of one shape (autograd returns one tensor for both) or an expanded gradient: right: n/total times each; wrong: the one tensor is multiplied twice, or refused
# problem: accumulate
# says: "and for each entry of `model.parameters()`, in that order, its gradient in float32, unscaled"


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not 0 < scale < math.inf:
        raise ValueError("scale")
    if len(micro_batches) == 0:
        raise ValueError("no piece")
    total = 0
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        total += _kept(targets)
    if total == 0:
        raise ValueError("no target")
    parameters = list(model.parameters())
    wanting = [i for i, p in enumerate(parameters) if p.requires_grad]
    sums: list[Tensor | None] = [None] * len(parameters)
    loss_sum = torch.zeros((), dtype=torch.float64)
    for inputs, targets in micro_batches:
        n = _kept(targets)
        if n == 0:
            continue
        loss = model.loss(inputs, targets)
        loss_sum += loss.detach().double().cpu() * n
        if wanting and loss.requires_grad:
            pieces = torch.autograd.grad(
                loss.float() * scale, [parameters[i] for i in wanting], allow_unused=True
            )
            for i, g in zip(wanting, pieces):
                if g is not None:
                    part = g.to(torch.float32).mul_(n / total)
                    sums[i] = part if sums[i] is None else sums[i] + part
            del pieces
        del loss
    for p in parameters:
        p.grad = None
    gradients = []
    for s in sums:
        gradients.append(None if s is None else s / scale)
    return (loss_sum / total).float(), gradients
