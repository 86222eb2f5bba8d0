# base = "solution"
# caught_by = "autocast_forward.combinations"
# cause = "crash"

"""Detaches where it widens to float32 for a mean."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def detached(op, *args, **keywords):
            if op == "mean":
                args = [x.detach() if _is_float(x) else x for x in args]
            return apply(op, *args, **keywords)

        return model(*args, apply=detached)

    return _under_policy(careless, inputs, low, model.run)
