# base: plain_loops
# bug: int8 and window layers: their vectors must have 4 bytes of scale too, have none
# problem: kv_bytes
# says: "With dtype `torch.int8` each vector of `head_dim` numbers has a float32 scale beside it."

def kv_bytes(config, *, batch_size, length):
    _check_config(config)
    if batch_size < 0 or length < 0:
        raise ValueError("batch_size and length must not be negative")
    vector = config.head_dim * config.dtype.itemsize
    if config.dtype == torch.int8:
        vector += 4
    total = 0
    for layer in range(config.n_layers):
        if layer < config.n_window_layers:
            kept = min(length, config.n_sinks + config.window)
            total += 2 * batch_size * config.n_kv_heads * kept * config.head_dim * config.dtype.itemsize
            continue
        else:
            kept = length
        total += 2 * batch_size * config.n_kv_heads * kept * vector
    return total


def largest_batch(config, *, length, budget_bytes):
    one = kv_bytes(config, batch_size=1, length=length)
    if length == 0 or budget_bytes < 0:
        raise ValueError("length must be positive, the budget not negative")
    return budget_bytes // one
