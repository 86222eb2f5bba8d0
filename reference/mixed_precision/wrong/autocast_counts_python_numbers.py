# base = "solution"
# caught_by = "autocast_forward.left_alone"
# cause = "wrong_value"

"""A Python number counts as a float32: times 0.5, a half becomes float32."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def widened(op, *args, **keywords):
            if any(isinstance(x, float) for x in args) and _precision(op) == "widest":
                args = [x.float() if _is_float(x) and x.dtype in LOW else x for x in args]
            return apply(op, *args, **keywords)

        return model(*args, apply=widened)

    return _under_policy(careless, inputs, low, model.run)
