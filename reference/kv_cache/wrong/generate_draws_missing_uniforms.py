# base = "solution"
# caught_by = "generate.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Draws uniforms of its own if none are given."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if temperature > 0 and uniforms_BN is None and prompt_BT.dim() == 2:
        uniforms_BN = torch.rand(len(prompt_BT), max(max_new_tokens, 0))
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
