# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "wrong_value"
# also_fails = [
#   "QuantizedKVCache.storage",
#   "QuantizedKVCache.zero_vectors",
#   "QuantizedKVCache.attend",
#   "QuantizedKVCache.bad_input",
#   "QuantizedKVCache.combinations",
# ]

"""Takes one scale per head and channel over the tokens of a chunk."""

# ruff: noqa: F821 - appended to solution.py


def _quantise(x_BHTD):
    x = x_BHTD.float()
    if x.shape[2] == 0:
        return x.to(torch.int8), x.amax(dim=-1)
    scales = (x.abs().amax(dim=2, keepdim=True) / INT8_MAX).clamp(min=1e-8)
    rounded = (x / scales).round() * scales
    outer = rounded.abs().amax(dim=-1) / INT8_MAX
    outer = torch.where(outer > 0, outer, 1.0)
    return (rounded / outer[..., None]).round().clamp(-127, 127).to(torch.int8), outer
