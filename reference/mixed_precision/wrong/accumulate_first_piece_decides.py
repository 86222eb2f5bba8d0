# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Who has no gradient in the first piece gets none from the others."""

# ruff: noqa: F821 - appended to solution.py


def accumulate(model, micro_batches, *, scale=1.0):
    _require_scale(scale)
    counts = _kept_counts(micro_batches)
    params = list(model.parameters())
    for p in params:
        p.grad = None
    wanted = [p for p in params if p.requires_grad]
    total, sums = torch.zeros(()), {}
    for (inputs, targets), count in zip(micro_batches, counts, strict=True):
        if count:
            share = count / sum(counts)
            loss = model.loss(inputs, targets).float()
            total += loss.detach() * share
            found = torch.autograd.grad(loss * (scale * share), wanted, allow_unused=True)
            wanted = [p for p, g in zip(wanted, found, strict=True) if g is not None]
            for p, g in zip(wanted, [g for g in found if g is not None], strict=True):
                sums[p] = sums.get(p, 0) + g.float() / scale
    return total, [sums.get(p) for p in params]
