# base = "solution"
# caught_by = "accumulate.float32_sums"
# cause = "wrong_value"

"""Sums gradients where backward puts them, in the dtype of the parameter."""

# ruff: noqa: F821 - appended to solution.py


def accumulate(model, micro_batches, *, scale=1.0):
    _require_scale(scale)
    counts = _kept_counts(micro_batches)
    params = list(model.parameters())
    for p in params:
        p.grad = None
    wanted = [p for p in params if p.requires_grad]
    total = torch.zeros(())
    sums = dict.fromkeys(wanted)
    for (inputs, targets), count in zip(micro_batches, counts, strict=True):
        if count:
            share = 1 / sum(counts)
            loss = model.loss(inputs, targets).float() * count
            total += loss.detach() * share
            found = torch.autograd.grad(loss * scale, wanted, allow_unused=True)
            for p, g in zip(wanted, found, strict=True):
                if g is not None:
                    sums[p] = g if sums[p] is None else sums[p] + g
    for p, g in sums.items():
        sums[p] = None if g is None else g.float() * (share / scale)
    return total, [sums.get(p) for p in params]
