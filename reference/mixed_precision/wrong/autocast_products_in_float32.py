# base = "solution"
# caught_by = "autocast_forward.activation_memory"
# cause = "too_much_memory"

"""Rounds inputs, and multiplies them as float32: right, and the graph keeps 4 bytes a number."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careful(*args, apply):
        def wide(op, *args, **keywords):
            floats = [x.dtype for x in args if _is_float(x)]
            if op != "linear" or keywords or torch.float64 in floats:
                return apply(op, *args, **keywords)
            return model.run(op, *(x.to(low).float() for x in args)).to(low)

        return model(*args, apply=wide)

    return _under_policy(careful, inputs, low, model.run)
