# base = "solution"
# caught_by = "QuantizedKVCache.zero_vectors"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.combinations"]

"""Adds a small number to each scale, so that zeros get that for a scale."""

# ruff: noqa: F821 - appended to solution.py


def _quantise(x_BHTD):
    x = x_BHTD.float()
    scales = (x.abs().amax(dim=-1) / INT8_MAX).clamp(min=1e-8)
    return (x / scales[..., None]).round().clamp(-127, 127).to(torch.int8), scales
