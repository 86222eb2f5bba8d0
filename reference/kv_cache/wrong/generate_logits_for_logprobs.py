# base = "solution"
# caught_by = "generate.greedy"
# cause = "wrong_value"
# also_fails = [
#   "generate.prompt_of_one",
#   "generate.long_prompt",
#   "generate.end_of_sequence",
#   "generate.combinations",
# ]

"""Reports the logit of a greedy token, not its log-probability."""

# ruff: noqa: F821 - appended to solution.py

_choose_normalised = _choose


def _choose(z_BV, temperature, uniforms_B):
    chosen, logp = _choose_normalised(z_BV, temperature, uniforms_B)
    return chosen, logp if temperature > 0 else z_BV.gather(1, chosen[:, None])[:, 0]
