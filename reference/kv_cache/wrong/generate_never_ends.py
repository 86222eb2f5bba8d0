# base = "solution"
# caught_by = "generate.end_of_sequence"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Goes on behind the end of a row."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    return _generate_well(
        model, prompt_BT, max_new_tokens, temperature=temperature, uniforms_BN=uniforms_BN
    )
