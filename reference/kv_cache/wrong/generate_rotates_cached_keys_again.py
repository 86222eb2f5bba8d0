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

"""Rotates the cached keys again at every step, though they were rotated when they were stored."""

# ruff: noqa: F821 - appended to solution.py

_step_rotated_once = _step


def _step(model, tokens_BT, layers, start):
    if start:
        for keys, _ in layers:
            keys[:, :, :start] = _rotate(keys[:, :, :start], 0, model.rope_base)
    return _step_rotated_once(model, tokens_BT, layers, start)
