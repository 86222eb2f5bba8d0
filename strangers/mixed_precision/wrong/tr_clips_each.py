# base: dataclasses_style
# bug: gradients of several parameters, each below max_norm, together above: right: all are clipped by the global norm; wrong: each by its own, nothing is clipped
# problem: train
# says: "max_norm: of all gradients together."


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
    if low != torch.bfloat16 and low != torch.float16:
        raise ValueError("low")
    Hyper(lr, (0.9, 0.999), 1e-8, weight_decay)
    if not max_norm >= 0 or not 1 <= init_scale <= 2**24:
        raise ValueError("max_norm or init_scale")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(low)
    pairs = [
        Pair(p, Parameter(p.detach().to(torch.float32)), i)
        for i, p in enumerate(parameters)
        if p.requires_grad
    ]
    optimizer = None
    if pairs:
        optimizer = MasterAdamW([x.master for x in pairs], lr=lr, weight_decay=weight_decay)
    scale, losses = init_scale, []
    for pieces in batches:
        loss, gradients = accumulate(LossModel(model, low), pieces, scale=scale)
        losses.append(loss)
        if optimizer is None:
            continue
        for x in pairs:
            x.master.grad = gradients[x.index]
        took = not any(x.master.grad is not None and overflows(x.master.grad) for x in pairs)
        if took:
            for x in pairs:
                torch.nn.utils.clip_grad_norm_([x.master], max_norm)
            optimizer.step()
        if took:
            for x in pairs:
                x.parameter.detach().copy_(x.master.detach())
        else:
            scale = max(1.0, scale / 2)
    return torch.stack(losses) if losses else torch.zeros(0)
