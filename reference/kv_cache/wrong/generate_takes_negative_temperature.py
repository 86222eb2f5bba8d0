# base = "solution"
# caught_by = "generate.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes a temperature below 0 for greedy choice."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    temperature = max(temperature, 0.0)
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
