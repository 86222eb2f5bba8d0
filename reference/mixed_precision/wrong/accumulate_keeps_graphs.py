# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Computes the losses of all pieces, and then differentiates: all graphs live at once."""

# ruff: noqa: F821 - appended to solution.py


def accumulate(model, micro_batches, *, scale=1.0):
    _require_scale(scale)
    counts = _kept_counts(micro_batches)
    params = list(model.parameters())
    losses = [
        model.loss(*piece) if count else None
        for piece, count in zip(micro_batches, counts, strict=True)
    ]

    class _Later:
        parameters = staticmethod(lambda: params)
        pieces = iter([loss for loss in losses if loss is not None])

        def loss(self, inputs, targets):
            return next(self.pieces)

    return _accumulate(_Later(), micro_batches, scale)
