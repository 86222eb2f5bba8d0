# base = "solution"
# caught_by = "generate.growth"
# cause = "too_slow"

"""Right, but runs the model over the whole sequence again for every eighth new token."""

# ruff: noqa: F821 - appended to solution.py

_step_from_cache = _step


def _step(model, tokens_BT, layers, start):
    global _seen
    _seen = tokens_BT if start == 0 else torch.cat((_seen, tokens_BT), dim=1)
    count = _seen.shape[1]
    begin = 0 if start == 0 or count % 8 == 0 else count - tokens_BT.shape[1]
    for first in range(begin, count, model.max_tokens):
        chunk = _seen[:, first : first + model.max_tokens]
        z = _step_from_cache(model, chunk, layers, first)
    return z
