# base = "solution"
# caught_by = "generate.end_of_sequence"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Gives the tokens after a row's end a log-probability of -1."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    tokens, logprobs = _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
    if eos_id is not None:
        ends = (tokens == eos_id).int().cumsum(dim=1)
        logprobs = logprobs.masked_fill(ends > 1, -1.0)
    return tokens, logprobs
