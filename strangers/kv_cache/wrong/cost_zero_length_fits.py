# base: generators
# bug: length=0 with a budget: must raise ValueError, returns 0
# problem: kv_bytes
# says: "ValueError: as `kv_bytes`; if budget_bytes is negative; or if length is 0."

def largest_batch(config, *, length, budget_bytes):
    _raise_first(_problems_of_config(config, 1, length))
    if length == 0:
        return 0
    _raise_first(_too_small(0, budget_bytes=budget_bytes))
    return budget_bytes // kv_bytes(config, batch_size=1, length=length)


def kv_bytes(config, *, batch_size, length):
    _raise_first(_problems_of_config(config, batch_size, length))
    width = torch.zeros(1, dtype=config.dtype).element_size() * config.head_dim
    if config.dtype == torch.int8:
        width += 4
    return sum(_layer_tokens(config, length)) * 2 * config.n_kv_heads * batch_size * width
