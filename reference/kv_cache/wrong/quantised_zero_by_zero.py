# base = "solution"
# caught_by = "QuantizedKVCache.zero_vectors"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Divides a vector of zeros by its scale of zero."""

# ruff: noqa: F821 - appended to solution.py


def _quantise(x_BHTD):
    x = x_BHTD.float()
    scales = x.abs().amax(dim=-1) / INT8_MAX
    return (x / scales[..., None]).round().clamp(-127, 127).to(torch.int8), scales
