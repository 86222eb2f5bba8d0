# base = "solution"
# caught_by = "accumulate.large_batch"
# cause = "wrong_value"

"""Drops a last piece that is shorter than the one before it, as some data loaders do."""

# ruff: noqa: F821 - appended to solution.py


def accumulate(model, micro_batches, *, scale=1.0):
    _require_scale(scale)
    _kept_counts(micro_batches)
    short = len(micro_batches) > 1 and len(micro_batches[-1][1]) < len(micro_batches[-2][1])
    return _accumulate(model, micro_batches[:-1] if short else micro_batches, scale)
