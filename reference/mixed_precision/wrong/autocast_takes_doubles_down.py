# base = "solution"
# caught_by = "autocast_forward.left_alone"
# cause = "wrong_value"

"""Casts float64 as any other float."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def down(op, *args, **keywords):
            singles = [x.float() if _is_float(x) and x.dtype is torch.float64 else x for x in args]
            return apply(op, *singles, **keywords)

        return model(*args, apply=down)

    return _under_policy(careless, inputs, low, model.run)
