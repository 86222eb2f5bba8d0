# base = "solution"
# caught_by = "autocast_forward.combinations"
# cause = "wrong_value"

"""Takes the upper half of a float32 for a bfloat16 in products of matrices: bits are cut off."""

# ruff: noqa: F821 - appended to solution.py


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        bits = x.detach().contiguous().view(torch.int32) & -65536
        return bits.view(torch.float32)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def autocast_forward(model, *inputs, low=torch.bfloat16):
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")

    def careless(*args, apply):
        def cut(op, *args, **keywords):
            def upper(x):
                flat = _is_float(x) and x.dim() == 2 and x.dtype is torch.float32
                return _Cut.apply(x) if flat else x

            if op == "matmul" and low is torch.bfloat16:
                args = [upper(x) for x in args]
                keywords = {name: upper(x) for name, x in keywords.items()}
            return apply(op, *args, **keywords)

        return model(*args, apply=cut)

    return _under_policy(careless, inputs, low, model.run)
