# base: dataclasses_style
# bug: matmul(float16, float32) with low=bfloat16: right: bfloat16 product; wrong: the float16 tensor is left as it is, run gets two dtypes
# problem: autocast_forward
# says: "all of them to `low`."


@dataclass
class Autocast:
    model: Any
    low: torch.dtype

    def __post_init__(self) -> None:
        if self.low != torch.bfloat16 and self.low != torch.float16:
            raise ValueError("low")

    @staticmethod
    def tensors(args, keywords):
        for x in [*args, *keywords.values()]:
            if isinstance(x, Tensor) and x.dtype.is_floating_point:
                yield x

    def cast_low(self, x: Tensor) -> Tensor:
        return x.to(self.low) if x.dtype == torch.float32 else x  # halves are low already

    def cast_float32(self, x: Tensor) -> Tensor:
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x

    def __call__(self, op: str, *args: Any, **keywords: Any) -> Tensor:
        dtypes = [x.dtype for x in self.tensors(args, keywords)]
        cast = self.chosen(cast_policy(op), dtypes)

        def each(x):
            return cast(x) if isinstance(x, Tensor) and x.dtype.is_floating_point else x

        args = [each(x) for x in args]
        keywords = {k: each(x) for k, x in keywords.items()}
        return self.model.run(op, *args, **keywords)

    def chosen(self, policy: str, dtypes: list):
        if torch.float64 in dtypes:
            return lambda x: x
        if policy == "low":
            return self.cast_low
        if policy == "float32":
            return self.cast_float32
        mixed = any(d != dtypes[0] for d in dtypes)
        return self.cast_float32 if mixed else lambda x: x
