# base = "solution"
# caught_by = "generate.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Repeats uniforms of one row, and the last one of too few."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if uniforms_BN is not None and prompt_BT.dim() == 2 and max_new_tokens > 0:
        uniforms_BN = uniforms_BN.expand(len(prompt_BT), -1)
        steps = torch.arange(max_new_tokens).clamp(max=uniforms_BN.shape[1] - 1)
        uniforms_BN = uniforms_BN[:, steps]
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
