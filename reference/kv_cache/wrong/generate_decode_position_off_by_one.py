# base = "solution"
# caught_by = "generate.greedy"
# cause = "wrong_value"
# also_fails = [
#   "generate.prompt_of_one",
#   "generate.long_prompt",
#   "generate.sampling",
#   "generate.end_of_sequence",
#   "generate.combinations",
# ]

"""Decodes the first new token at the position of the prompt's last."""

# ruff: noqa: F821 - appended to solution.py

_step_at = _step
_rotate_at = _rotate


def _step(model, tokens_BT, layers, start):
    global _rotate
    decoding = tokens_BT.shape[1] == 1 and start > 0
    _rotate = (lambda x, at, base: _rotate_at(x, at - 1, base)) if decoding else _rotate_at
    return _step_at(model, tokens_BT, layers, start)
