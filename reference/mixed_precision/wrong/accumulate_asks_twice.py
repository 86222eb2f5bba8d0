# base = "solution"
# caught_by = "accumulate.combinations"
# cause = "wrong_value"

"""Asks for every loss twice: once for its value, once for its graph."""

# ruff: noqa: F821 - appended to solution.py

_accumulate_exactly = accumulate


def accumulate(model, micro_batches, *, scale=1.0):
    class _Twice:
        parameters = model.parameters

        def loss(self, inputs, targets):
            with torch.no_grad():
                model.loss(inputs, targets)
            return model.loss(inputs, targets)

    return _accumulate_exactly(_Twice(), micro_batches, scale=scale)
