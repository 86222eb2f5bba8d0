# base = "solution"
# caught_by = "autocast_forward.combinations"
# cause = "wrong_value"

"""Copies what is only moved, also where it has its dtype already."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careful(*args, apply):
        def on_copies(op, *args, **keywords):
            if op == "transpose":
                args = [x.clone() if _is_float(x) else x for x in args]
            return apply(op, *args, **keywords)

        return model(*args, apply=on_copies)

    return _under_policy(careful, inputs, low, model.run)
