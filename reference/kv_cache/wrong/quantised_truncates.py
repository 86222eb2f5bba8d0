# base = "solution"
# caught_by = "QuantizedKVCache.error_bound"
# cause = "wrong_value"
# also_fails = [
#   "QuantizedKVCache.storage",
#   "QuantizedKVCache.attend",
#   "QuantizedKVCache.bad_input",
#   "QuantizedKVCache.combinations",
# ]

"""Cuts the fraction off instead of rounding: twice the error."""

# ruff: noqa: F821 - appended to solution.py


def _quantise(x_BHTD):
    x = x_BHTD.float()
    scales = x.abs().amax(dim=-1) / INT8_MAX
    scales = torch.where(scales > 0, scales, 1.0)
    return (x / scales[..., None]).to(torch.int8), scales
