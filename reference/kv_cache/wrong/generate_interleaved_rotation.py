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

"""Pairs neighbouring dimensions, not i with i + D/2."""

# ruff: noqa: F821 - appended to solution.py

_rotate_halves = _rotate


def _rotate(x_BHTD, start, base):
    halves = torch.cat((x_BHTD[..., ::2], x_BHTD[..., 1::2]), dim=-1)
    low, high = _rotate_halves(halves, start, base).chunk(2, dim=-1)
    return torch.stack((low, high), dim=-1).flatten(-2)
