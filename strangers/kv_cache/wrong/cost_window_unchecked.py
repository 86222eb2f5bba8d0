# base: dataclass_helpers
# bug: window=-1 with n_window_layers=0: must raise ValueError, gives a number
# problem: kv_bytes
# says: "ValueError: if n_layers, n_query_heads, n_kv_heads or head_dim is below 1; batch_size, length, window or n_sinks is negative"

@dataclass(frozen=True)
class Bill:
    layers_full: int
    layers_short: int
    vectors_per_token: int
    bytes_per_vector: int
    kept_short: int

    @classmethod
    def of(cls, c):
        if min(c.n_layers, c.n_query_heads, c.n_kv_heads, c.head_dim) < 1:
            raise ValueError("size below 1")
        if c.n_window_layers and (c.window < 0 or c.n_sinks < 0):
            raise ValueError("negative window or n_sinks")
        if c.n_query_heads % c.n_kv_heads:
            raise ValueError("heads")
        if not 0 <= c.n_window_layers <= c.n_layers:
            raise ValueError("n_window_layers")
        if c.n_window_layers and c.window == 0:
            raise ValueError("window is 0")
        per = c.head_dim * c.dtype.itemsize + (4 if c.dtype == torch.int8 else 0)
        return cls(c.n_layers - c.n_window_layers, c.n_window_layers, 2 * c.n_kv_heads, per,
                   c.n_sinks + c.window)

    def total(self, length: int) -> int:
        tokens = self.layers_full * length + self.layers_short * min(length, self.kept_short)
        return tokens * self.vectors_per_token * self.bytes_per_vector


def kv_bytes(config, *, batch_size, length):
    bill = Bill.of(config)
    if batch_size < 0 or length < 0:
        raise ValueError("negative batch_size or length")
    return batch_size * bill.total(length)


def largest_batch(config, *, length, budget_bytes):
    bill = Bill.of(config)
    if length < 1 or budget_bytes < 0:
        raise ValueError("length below 1 or negative budget")
    return budget_bytes // bill.total(length)
