# base = "solution"
# caught_by = "autocast_forward.combinations"
# cause = "wrong_value"

"""A tensor without dimensions does not count where dtypes meet, as in plain torch."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def promoted(op, *args, **keywords):
            floats = [x for x in (*args, *keywords.values()) if _is_float(x)]
            if _precision(op) != "widest" or all(x.dim() for x in floats):
                return apply(op, *args, **keywords)
            return model.run(op, *args, **keywords)

        return model(*args, apply=promoted)

    return _under_policy(careless, inputs, low, model.run)
