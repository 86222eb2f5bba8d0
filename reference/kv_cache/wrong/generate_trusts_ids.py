# base = "solution"
# caught_by = "generate.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Wraps ids outside the vocabulary around."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    if prompt_BT.dtype == torch.int64:
        prompt_BT = prompt_BT % model.vocab_size
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
