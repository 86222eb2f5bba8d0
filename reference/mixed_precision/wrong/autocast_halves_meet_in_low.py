# base = "solution"
# caught_by = "autocast_forward.widest"
# cause = "wrong_value"

"""Where bfloat16 meets float16, takes the low dtype."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def both_low(op, *args, **keywords):
            halves = {x.dtype for x in args if _is_float(x)} == set(LOW)
            args = [x.to(low) if halves and _is_float(x) else x for x in args]
            return apply(op, *args, **keywords)

        return model(*args, apply=both_low)

    return _under_policy(careless, inputs, low, model.run)
