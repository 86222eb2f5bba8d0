# base = "solution"
# caught_by = "autocast_forward.widest"
# cause = "wrong_value"

"""Casts the result of a ReLU to float32."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def widened(op, *args, **keywords):
            result = apply(op, *args, **keywords)
            return result.float() if op == "relu" and result.dtype in LOW else result

        return model(*args, apply=widened)

    return _under_policy(careless, inputs, low, model.run)
