# base = "solution"
# caught_by = "autocast_forward.widest"
# cause = "wrong_value"

"""Runs binary operations in the low dtype: half the bytes."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def narrow(op, *args, **keywords):
            floats = [x.dtype for x in args if _is_float(x)]
            if op in ("add", "sub", "maximum") and torch.float64 not in floats:
                args = [x.to(low) if _is_float(x) else x for x in args]
            return apply(op, *args, **keywords)

        return model(*args, apply=narrow)

    return _under_policy(careless, inputs, low, model.run)
