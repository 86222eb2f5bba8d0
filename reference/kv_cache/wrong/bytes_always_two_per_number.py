# base = "solution"
# caught_by = "kv_bytes.full_layers"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Takes two bytes for every number that is not int8."""

# ruff: noqa: F821 - appended to solution.py

_bytes_by_dtype = kv_bytes


def kv_bytes(config, *, batch_size, length):
    total = _bytes_by_dtype(config, batch_size=batch_size, length=length)
    return total // 2 if config.dtype == torch.float32 else total
