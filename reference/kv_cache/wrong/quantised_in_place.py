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

"""Divides the caller's own numbers by their scales."""

# ruff: noqa: F821 - appended to solution.py


def _quantise(x_BHTD):
    x = x_BHTD.float()
    scales = x.abs().amax(dim=-1) / INT8_MAX
    scales = torch.where(scales > 0, scales, 1.0)
    x /= scales[..., None]
    return x.round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8), scales
