# base = "solution"
# caught_by = "generate.prompt_of_one"
# cause = "crash"
# also_fails = ["generate.combinations"]

"""Prefills all but the last token first: of a prompt of one, nothing is left to prefill."""

# ruff: noqa: F821 - appended to solution.py

_generate_well = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    _require_generate(model, prompt_BT, max_new_tokens, temperature, uniforms_BN)
    prefix = prompt_BT[:, :-1]
    hidden = model.embed(prefix[:, : model.max_tokens])
    model.logits(hidden)[:, -1]
    return _generate_well(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
