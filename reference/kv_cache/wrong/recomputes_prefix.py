# base = "solution"
# caught_by = "generate.growth"
# cause = "too_slow"

"""Right, but runs the model over the whole sequence for every new token."""

# ruff: noqa: F821 - appended to solution.py

_step_from_cache = _step


def _step(model, tokens_BT, layers, start):
    global _seen
    _seen = tokens_BT if start == 0 else torch.cat((_seen, tokens_BT), dim=1)
    for first in range(0, _seen.shape[1], model.max_tokens):
        chunk = _seen[:, first : first + model.max_tokens]
        z = _step_from_cache(model, chunk, layers, first)
    return z
