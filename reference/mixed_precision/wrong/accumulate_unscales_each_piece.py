# base = "solution"
# caught_by = "accumulate.large_batch"
# cause = "wrong_value"
# also_fails = [
#   "accumulate.scaled",
#   "accumulate.float32_sums",
# ]

"""Divides the whole sum after every piece: the first ones are divided again and again."""

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
            share = count / sum(counts)
            loss = model.loss(inputs, targets).float()
            total += loss.detach() * share
            found = torch.autograd.grad(loss * (scale * share), wanted, allow_unused=True)
            _add(sums, found)
            for g in sums.values():
                if g is not None:
                    g.div_(scale)
    return total, [sums.get(p) for p in params]
