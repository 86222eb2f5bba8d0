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

"""Returns the probability of each new token, not its logarithm."""

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
    return tokens, logprobs.exp()
