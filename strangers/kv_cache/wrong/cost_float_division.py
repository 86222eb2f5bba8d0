# base: vectorised
# bug: budget_bytes = 10**18 - 1 and 10**3 bytes per sequence or more: the quotient goes through a float and is one too large where it should be rounded down
# problem: kv_bytes
# says: "Return how many sequences of `length` tokens fit into `budget_bytes`"

def largest_batch(config, *, length: int, budget_bytes: int) -> int:
    if budget_bytes < 0 or length <= 0:
        raise ValueError("budget_bytes must not be negative and length positive")
    return int(budget_bytes / kv_bytes(config, batch_size=1, length=length))


def kv_bytes(config, *, batch_size: int, length: int) -> int:
    c = config
    bad = (
        min(c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim) < 1
        or min(batch_size, length, c.window, c.n_sinks) < 0
        or c.n_query_heads % c.n_kv_heads != 0
        or not 0 <= c.n_window_layers <= c.n_layers
        or (c.n_window_layers > 0 and c.window == 0)
    )
    if bad:
        raise ValueError("the configuration makes no sense")
    kept = ((c.n_layers - c.n_window_layers) * length
            + c.n_window_layers * min(length, c.n_sinks + c.window))
    per_vector = c.head_dim + 4 if c.dtype == torch.int8 else c.head_dim * c.dtype.itemsize
    return 2 * batch_size * c.n_kv_heads * kept * per_vector
