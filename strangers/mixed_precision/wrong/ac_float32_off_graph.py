# base: generators
# bug: layer_norm, softmax or a loss of a bfloat16 tensor that wants a gradient: right: the gradient arrives in bfloat16; wrong: it is None, the cast to float32 left the graph (only this policy; low is fine)
# problem: autocast_forward
# says: "Casts are part of the graph: gradients arrive at the tensors that the model passed, in their dtypes."


def _cast(policy: str, values: list, low: torch.dtype) -> Iterator[Any]:
    dtypes = [x.dtype for x in _walk(values)]
    for x in values:
        if not isinstance(x, Tensor) or not x.is_floating_point() or torch.float64 in dtypes:
            yield x
        elif policy == "low":
            yield x.to(low)
        elif policy == "float32" and _is_half(x.dtype):
            yield torch.empty_like(x, dtype=torch.float32).copy_(x.detach()).requires_grad_(x.requires_grad)
        elif policy == "widest" and _is_half(x.dtype) and len(set(dtypes)) > 1:
            yield x.to(torch.float32)
        else:
            yield x
