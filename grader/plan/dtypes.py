"""Names of dtypes that an author may write.

Takes: nothing. Gives: `DTYPE_NAMES`. Does not cover: the dtypes themselves (see `runner.tensors`).
"""

DTYPE_NAMES = frozenset(
    {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64"}
    | {"int8", "int16", "int32", "int64", "uint8", "bool"}
)
"""Dtypes of replies: a tolerance may be written for them, an output may have them."""
