# base = "solution"
# caught_by = "autocast_forward.float32_operations"
# cause = "wrong_value"

"""Leaves norms in the dtype they come in."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def as_it_comes(op, *args, **keywords):
            chosen = model.run if op == "layer_norm" else apply
            return chosen(op, *args, **keywords)

        return model(*args, apply=as_it_comes)

    return _under_policy(careless, inputs, low, model.run)
