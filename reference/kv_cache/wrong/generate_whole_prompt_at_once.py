# base = "solution"
# caught_by = "generate.long_prompt"
# cause = "crash"
# also_fails = ["generate.combinations"]

"""Feeds the whole prompt in one call, whatever the model takes."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _require_generate(model, prompt_BT, max_new_tokens, temperature, uniforms_BN)
    model.embed(prompt_BT)
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
