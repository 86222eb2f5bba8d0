# base: functional
# bug: add(bfloat16 [3], float32 [] of dimension 0): right: float32 result; wrong: bfloat16, torch.result_type lets a tensor without dimensions not count
# problem: autocast_forward
# says: "all of them to the widest dtype among them: float32 if there is one"


def _caster(policy: str, dtypes: frozenset, low: torch.dtype, floats: list) -> Callable[[Tensor], Tensor]:
    def keep(x):
        return x

    def up(x):
        return x.to(torch.float32) if x.dtype in LOW else x

    if torch.float64 in dtypes:
        return keep
    widest = low
    if dtypes:
        widest = reduce(lambda a, x: a if x.dim() == 0 else torch.promote_types(a, x.dtype), floats, max(floats, key=torch.Tensor.dim).dtype)
    return {
        "low": lambda x: x.to(low),
        "float32": up,
        "widest": lambda x: x.to(widest),
    }[policy]


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if not (isinstance(low, torch.dtype) and low in LOW):
        raise ValueError("low")

    def apply(op, *args, **keywords):
        floats = list(filter(_floating, chain(args, keywords.values())))
        dtypes = frozenset(x.dtype for x in floats)
        cast = _caster(cast_policy(op), dtypes, low, floats)
        fix = lambda x: cast(x) if _floating(x) else x  # noqa: E731
        return model.run(op, *map(fix, args), **{k: fix(x) for k, x in keywords.items()})

    return model(*inputs, apply=apply)
