# base = "solution"
# caught_by = "kv_bytes.window_layers"
# cause = "wrong_value"
# also_fails = ["kv_bytes.combinations"]

"""Applies the window to every layer."""

# ruff: noqa: F821 - appended to solution.py

_bytes_some_windowed = kv_bytes


def kv_bytes(config, *, batch_size, length):
    total = _bytes_some_windowed(config, batch_size=batch_size, length=length)
    if config.n_window_layers == 0:
        return total
    short = min(length, config.window + config.n_sinks)
    full = (config.n_layers - config.n_window_layers) * length + config.n_window_layers * short
    return total // full * config.n_layers * short if full else 0


def largest_batch(config, *, length, budget_bytes):
    _require(budget_bytes >= 0 and length != 0, "a budget and a length")
    return budget_bytes // _bytes_some_windowed(config, batch_size=1, length=length)
