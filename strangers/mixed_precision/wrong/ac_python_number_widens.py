# base: vectorised
# bug: mul(float16 tensor, 2.0): right: a float16 result; wrong: float32, a Python float counts as a float32
# problem: autocast_forward
# says: "Numbers that are no tensors do not count."


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if low not in {torch.bfloat16, torch.float16}:
        raise ValueError(f"{low} is no low dtype")

    def floats(values):
        return [x for x in values if isinstance(x, Tensor) and torch.is_floating_point(x)]

    def apply(op: str, *args: Any, **kw: Any) -> Tensor:
        dtypes = {x.dtype for x in floats((*args, *kw.values()))}
        if any(isinstance(x, float) for x in (*args, *kw.values())) and dtypes:
            dtypes.add(torch.float32)
        if torch.float64 in dtypes or not dtypes:
            return model.run(op, *args, **kw)
        wanted = {
            "low": low,
            "float32": torch.float32,
            "widest": dtypes.copy().pop() if len(dtypes) == 1 else torch.float32,
        }[cast_policy(op)]

        def cast(x):
            return x.to(dtype=wanted) if floats([x]) else x

        return model.run(op, *map(cast, args), **dict(zip(kw, map(cast, kw.values()))))

    return model(*inputs, apply=apply)
