# base = "solution"
# caught_by = "autocast_forward.left_alone"
# cause = "wrong_value"

"""Casts tensors of whole numbers to floats, too."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def all_floats(op, *args, **keywords):
            if op in ("mul", "sum"):
                args = [
                    x.float() if isinstance(x, Tensor) and not _is_float(x) else x for x in args
                ]
            return apply(op, *args, **keywords)

        return model(*args, apply=all_floats)

    return _under_policy(careless, inputs, low, model.run)
