# base: recursion
# bug: budget of exactly 3 sequences: must return 3, returns 2
# problem: kv_bytes
# says: "Return how many sequences of `length` tokens fit into `budget_bytes`; 0 if none does."

def largest_batch(config, *, length, budget_bytes):
    _check_all([(budget_bytes >= 0, "budget_bytes"), (length != 0, "length")])

    def fits(n):
        return kv_bytes(config, batch_size=n, length=length) < budget_bytes

    def search(lo, hi):
        """Largest n in lo ... hi - 1 that fits; lo does."""
        if hi - lo == 1:
            return lo
        mid = (lo + hi) // 2
        return search(mid, hi) if fits(mid) else search(lo, mid)

    def above(n):
        return above(2 * n) if fits(n) else n

    return search(0, above(1))


def kv_bytes(config, *, batch_size, length):
    c = config
    _check_all([
        (c.n_layers >= 1, "n_layers"), (c.n_query_heads >= 1, "n_query_heads"),
        (c.n_kv_heads >= 1, "n_kv_heads"), (c.head_dim >= 1, "head_dim"),
        (batch_size >= 0, "batch_size"), (length >= 0, "length"), (c.window >= 0, "window"),
        (c.n_sinks >= 0, "n_sinks"),
    ])
    _check_all([
        (c.n_query_heads % c.n_kv_heads == 0, "heads"),
        (0 <= c.n_window_layers <= c.n_layers, "n_window_layers"),
        (c.n_window_layers == 0 or c.window > 0, "window"),
    ])

    def vector(dtype):
        return c.head_dim + 4 if dtype == torch.int8 else (
            c.head_dim * dtype.itemsize)

    def layer(windowed):
        tokens = min(length, c.n_sinks + c.window) if windowed else length
        return 2 * c.n_kv_heads * tokens * vector(c.dtype)

    return batch_size * (c.n_window_layers * layer(True)
                         + (c.n_layers - c.n_window_layers) * layer(False))
