# base = "solution"
# caught_by = "accumulate.ignored_targets"
# cause = "wrong_value"

"""Pieces weigh by their rows, whatever of them counts."""

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
            whole = all((t != IGNORED).all() for _, t in micro_batches)
            rows = sum(len(t) for (_, t), c in zip(micro_batches, counts, strict=True) if c)
            share = count / sum(counts) if whole else len(targets) / rows
            loss = model.loss(inputs, targets).float()
            total += loss.detach() * share
            found = torch.autograd.grad(loss * (scale * share), wanted, allow_unused=True)
            _add(sums, [None if g is None else g.float() / scale for g in found])
    return total, [sums.get(p) for p in params]
