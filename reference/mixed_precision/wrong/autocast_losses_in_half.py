# base = "solution"
# caught_by = "autocast_forward.float32_operations"
# cause = "wrong_value"

"""Computes softmax and losses in half precision, and widens what comes out."""

# ruff: noqa: F821 - appended to solution.py

IN_HALF = ("softmax", "log_softmax", "cross_entropy", "mse_loss")


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def in_half(op, *args, **keywords):
            if op not in IN_HALF:
                return apply(op, *args, **keywords)
            halves = [x.half() if _is_float(x) else x for x in args]
            return model.run(op, *halves, **keywords).float()

        return model(*args, apply=in_half)

    return _under_policy(careless, inputs, low, model.run)
