# base = "solution"
# caught_by = "generate.end_of_sequence"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Stops the whole batch as soon as one row ends."""

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
        steps = (tokens == eos_id).any(dim=0).nonzero()
        if len(steps):
            tokens[:, int(steps[0]) + 1 :] = eos_id
            logprobs[:, int(steps[0]) + 1 :] = 0
    return tokens, logprobs
