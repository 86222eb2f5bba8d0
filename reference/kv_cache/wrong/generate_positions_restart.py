# base = "solution"
# caught_by = "generate.long_prompt"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Counts positions from 0 again in every chunk of the prefill."""

# ruff: noqa: F821 - appended to solution.py

_step_onwards = _step
_rotate_from = _rotate


def _step(model, tokens_BT, layers, start):
    global _rotate
    chunk = tokens_BT.shape[1] > 1
    _rotate = (lambda x, _, base: _rotate_from(x, 0, base)) if chunk else _rotate_from
    return _step_onwards(model, tokens_BT, layers, start)
