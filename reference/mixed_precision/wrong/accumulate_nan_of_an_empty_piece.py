# base = "solution"
# caught_by = "accumulate.ignored_targets"
# cause = "wrong_value"

"""Multiplies the NaN of a piece without targets by zero."""

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
        share = count / sum(counts)
        loss = model.loss(inputs, targets).float()
        total += loss.detach() * share
        found = torch.autograd.grad(loss * (scale * share), wanted, allow_unused=True)
        _add(sums, [None if g is None else g.float() / scale for g in found])
    return total, [sums.get(p) for p in params]
