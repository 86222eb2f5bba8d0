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

"""Takes scores as they are, without the factor 1/sqrt(D)."""

# ruff: noqa: F821 - appended to solution.py

_step_scaled = _step
_attend_scaled = _attend


def _step(model, tokens_BT, layers, start):
    global _attend

    def unscaled(q_BHqTD, k_BHSD, v_BHSD, seen_BTS, scale):
        return _attend_scaled(q_BHqTD, k_BHSD, v_BHSD, seen_BTS, 1.0)

    _attend = unscaled
    try:
        return _step_scaled(model, tokens_BT, layers, start)
    finally:
        _attend = _attend_scaled
