# base = "solution"
# caught_by = "kv_bytes.int8"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Forgets the scales of quantised vectors."""

# ruff: noqa: F821 - appended to solution.py

_bytes_with_scales = kv_bytes


def kv_bytes(config, *, batch_size, length):
    total = _bytes_with_scales(config, batch_size=batch_size, length=length)
    if config.dtype == torch.int8:
        total = total // (config.head_dim + 4) * config.head_dim
    return total


def largest_batch(config, *, length, budget_bytes):
    _require(budget_bytes >= 0 and length != 0, "a budget and a length")
    return budget_bytes // _bytes_with_scales(config, batch_size=1, length=length)
