# base = "solution"
# caught_by = "autocast_forward.parameters_change"
# cause = "wrong_value"

"""Casts each parameter once and keeps the result."""

# ruff: noqa: F821 - appended to solution.py

_casts = {}


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def cached(op, *args, **keywords):
            return apply(op, *(_cached(x, low) for x in args), **keywords)

        return model(*args, apply=cached)

    return _under_policy(careless, inputs, low, model.run)


def _cached(x, low):
    if not isinstance(x, Parameter):
        return x
    return _casts.setdefault(id(x), (x, x.to(low)))[1]
