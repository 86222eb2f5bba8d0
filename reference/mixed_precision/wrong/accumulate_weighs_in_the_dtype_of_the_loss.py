# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Sums losses in float32, but multiplies each by its share in the dtype of the model's loss."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    losses = []

    class _Noted:
        parameters = model.parameters

        def loss(self, inputs, targets):
            loss = model.loss(inputs, targets)
            losses.append(loss.detach())
            return loss

    _, gradients = _accumulate_exactly(_Noted(), micro_batches, scale=scale)
    counts = [count for count in _kept_counts(micro_batches) if count]
    shares = [loss * (n / sum(counts)) for loss, n in zip(losses, counts, strict=True)]
    return sum(share.float() for share in shares), gradients
