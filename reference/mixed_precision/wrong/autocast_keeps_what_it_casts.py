# base = "solution"
# caught_by = "autocast_forward.activation_memory"
# cause = "too_much_memory"

"""Right, but every cast keeps what it was given, for the sake of a dtype."""

# ruff: noqa: F821 - appended to solution.py


class _KeepingCast(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dtype):
        ctx.save_for_backward(x)
        return x.to(dtype)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.to(x.dtype), None


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careful(*args, apply):
        def kept(op, *args, **keywords):
            tensors = [x for x in (*args, *keywords.values()) if _is_float(x)]
            dtype = _dtype_for(op, {x.dtype for x in tensors}, low)

            def cast(x):
                changes = dtype is not None and _is_float(x) and x.dtype is not dtype
                return _KeepingCast.apply(x, dtype) if changes else x

            named = {name: cast(x) for name, x in keywords.items()}
            return apply(op, *map(cast, args), **named)

        return model(*args, apply=kept)

    return _under_policy(careful, inputs, low, model.run)
