# base: flat_strides
# bug: window layers, window=8, n_sinks=4, length=3: must keep 3 tokens, is charged 7
# problem: kv_bytes
# says: "`config.n_window_layers` of the `config.n_layers` layers keep only `min(length, n_sinks + window)` tokens."

def kv_bytes(config, *, batch_size, length):
    c = config
    _bad(c.n_layers < 1, c.n_query_heads < 1, c.n_kv_heads < 1, c.head_dim < 1)
    _bad(batch_size < 0, length < 0, c.window < 0, c.n_sinks < 0)
    _bad(c.n_query_heads % c.n_kv_heads, c.n_window_layers < 0, c.n_window_layers > c.n_layers)
    _bad(c.n_window_layers > 0 and c.window == 0)
    vector = c.head_dim * c.dtype.itemsize
    vector += torch.float32.itemsize * (c.dtype is torch.int8)
    window_tokens = c.n_sinks * (length > 0) + min(length, c.window)
    per_head = length * (c.n_layers - c.n_window_layers) + window_tokens * c.n_window_layers
    return int(2 * c.n_kv_heads * batch_size * per_head * vector)


def largest_batch(config, *, length, budget_bytes):
    one = kv_bytes(config, batch_size=1, length=length)
    _bad(length < 1, budget_bytes < 0)
    return (budget_bytes - budget_bytes % one) // one
