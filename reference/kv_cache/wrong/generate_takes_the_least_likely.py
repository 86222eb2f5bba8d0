# base = "solution"
# caught_by = "generate.greedy"
# cause = "wrong_value"
# also_fails = [
#   "generate.prompt_of_one",
#   "generate.long_prompt",
#   "generate.end_of_sequence",
#   "generate.combinations",
# ]

"""Takes the token with the smallest logit."""

# ruff: noqa: F821 - appended to solution.py

_choose_likeliest = _choose


def _choose(z_BV, temperature, uniforms_B):
    if temperature > 0:
        return _choose_likeliest(z_BV, temperature, uniforms_B)
    logp = torch.log_softmax(z_BV, dim=-1)
    chosen = z_BV.argmin(dim=-1)
    return chosen, logp.gather(1, chosen[:, None])[:, 0]
