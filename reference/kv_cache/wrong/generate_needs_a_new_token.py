# base = "solution"
# caught_by = "generate.greedy"
# cause = "crash"
# also_fails = ["generate.combinations"]

"""Refuses to generate no tokens."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _require(max_new_tokens != 0, "nothing to generate")
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
