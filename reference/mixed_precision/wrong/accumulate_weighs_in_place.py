# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Multiplies the gradients that autograd returns in place: two parameters may have one."""

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
            found = torch.autograd.grad(loss * scale, wanted, allow_unused=True)
            for p, g in zip(wanted, found, strict=True):
                if g is not None:
                    sums[p] = sums.get(p, 0) + g.float().mul_(share)
    return total, [sums[p] / scale if p in sums else None for p in params]
