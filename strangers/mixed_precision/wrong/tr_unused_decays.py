# base: chunked
# bug: a parameter that is in no loss: right: it keeps its converted numbers; wrong: it gets a gradient of zeros and shrinks by the decay
# problem: train
# says: "A parameter that never has a gradient keeps its (converted) numbers."


def train(
    model: Any,
    batches: Sequence[Sequence[tuple[Tensor, Tensor]]],
    *,
    low: torch.dtype = torch.bfloat16,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    init_scale: float = 65536.0,
) -> Tensor:
    if not any(low is d for d in HALF_DTYPES):
        raise ValueError("low")
    for number in (lr, weight_decay, max_norm):
        if not number >= 0:
            raise ValueError("number")
    if not 1 <= init_scale <= 2**24:
        raise ValueError("init_scale")
    everything = list(model.parameters())
    with torch.no_grad():
        for p in everything:
            p.grad = None
            p.data = p.data.to(low)
    trained = [i for i, p in enumerate(everything) if p.requires_grad]
    masters = [Parameter(everything[i].detach().float()) for i in trained]
    if masters:
        optimizer = MasterAdamW(masters, lr=lr, weight_decay=weight_decay)
    under = _LossUnderPolicy(model, low)
    losses, scale = torch.zeros(len(batches), dtype=torch.float32), float(init_scale)
    for step, pieces in enumerate(batches):
        loss, gradients = accumulate(under, pieces, scale=scale)
        losses[step] = loss
        if not masters:
            continue
        for i, master in zip(trained, masters):
            g = gradients[i]
            master.grad = torch.zeros_like(master.data) if g is None else g
        _, fine = clip_and_step(optimizer, 1.0, max_norm)
        if fine:
            for i, master in zip(trained, masters):
                everything[i].data.copy_(master.data)
        else:
            scale = max(1.0, scale * 0.5)
    return losses
