# base = "solution"
# caught_by = "autocast_forward.low_operations"
# cause = "crash"
# also_fails = [
#   "autocast_forward.gradients",
#   "autocast_forward.float32_operations",
# ]

"""Casts what is given by place, and forgets keywords."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def by_place(op, *args, **keywords):
            cast = _cast_for(op, [x for x in args if _is_float(x)], low)
            return model.run(op, *map(cast, args), **keywords)

        return model(*args, apply=by_place)

    return _under_policy(careless, inputs, low, model.run)
