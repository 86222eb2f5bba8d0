# base = "solution"
# caught_by = "generate.end_of_sequence"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Takes an `eos_id` of 0 for None."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    eos_id = eos_id or None
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
