# base: plain_loops
# bug: a float32 parameter changed between two calls: right: the second call multiplies with the new weight; wrong: with the cast of the first call, kept by id in a cache that is never cleared
# problem: autocast_forward
# says: "Parameters may change between two calls, and the next call sees it."
_CASTS = {}  # one cast of a weight that is used in many places

def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if low not in HALF:
        raise ValueError("low must be bfloat16 or float16")

    def cast(x, target):
        if isinstance(x, Parameter) and x.dtype != target:
            key = id(x), target
            if key not in _CASTS:
                _CASTS[key] = x, x.to(target)
            return _CASTS[key][1]
        return x.to(target)

    def apply(op, *args, **keywords):
        dtypes = set()
        for x in args:
            if _is_float(x):
                dtypes.add(x.dtype)
        for x in keywords.values():
            if _is_float(x):
                dtypes.add(x.dtype)
        target = _target(op, dtypes, low)
        if target is not None:
            new_args = []
            for x in args:
                new_args.append(cast(x, target) if _is_float(x) else x)
            new_keywords = {}
            for name, x in keywords.items():
                new_keywords[name] = cast(x, target) if _is_float(x) else x
            args, keywords = new_args, new_keywords
        return model.run(op, *args, **keywords)

    return model(*inputs, apply=apply)
