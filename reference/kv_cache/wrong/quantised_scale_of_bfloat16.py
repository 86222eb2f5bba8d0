# base = "solution"
# caught_by = "QuantizedKVCache.storage"
# cause = "wrong_value"
# also_fails = ["QuantizedKVCache.attend", "QuantizedKVCache.combinations"]

"""Computes scales in the dtype of the chunk, so that those of bfloat16 are rounded."""

# ruff: noqa: F821 - appended to solution.py

_quantise_in_float32 = _quantise


def _quantise(x_BHTD):
    numbers, scales = _quantise_in_float32(x_BHTD)
    return numbers, scales.to(x_BHTD.dtype).float() if x_BHTD.dtype == torch.bfloat16 else scales
