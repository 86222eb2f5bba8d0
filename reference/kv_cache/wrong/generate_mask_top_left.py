# base = "solution"
# caught_by = "generate.long_prompt"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Uses the mask of the first chunk for later chunks, too."""

# ruff: noqa: F821 - appended to solution.py

_causal_from_end = _causal


def _step(model, tokens_BT, layers, start, _step=_step):
    global _causal
    first = tokens_BT.shape[1] > 1

    def top_left(lengths_B, n_queries, n_keys):
        return _causal_from_end(torch.full_like(lengths_B, n_queries), n_queries, n_keys)

    _causal = top_left if first else _causal_from_end
    try:
        return _step(model, tokens_BT, layers, start)
    finally:
        _causal = _causal_from_end
