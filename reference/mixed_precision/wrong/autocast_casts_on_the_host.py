# base = "solution"
# caught_by = "autocast_forward.step_time"
# cause = "too_slow"

"""Casts on the processor, and back: nothing of it shows where there is no device."""

# ruff: noqa: F821 - appended to solution.py


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def detour(*args, apply):
        def by_the_host(op, *args, **keywords):
            args = [x.cpu().to(x.device) if _is_float(x) else x for x in args]
            return apply(op, *args, **keywords)

        return model(*args, apply=by_the_host)

    return _under_policy(detour, inputs, low, model.run)
