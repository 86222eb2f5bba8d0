# base = "solution"
# caught_by = "generate.end_of_sequence"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Looks for the end of a row only where it chooses greedily."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    eos_id = None if temperature > 0 else eos_id
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
