# base = "solution"
# caught_by = "generate.combinations"
# cause = "wrong_value"
# also_fails = []
"""Returns only the steps that were made, if a single row ends early."""
# ruff: noqa: F821 - appended to solution.py

_whole = generate


def generate(model, prompt_BT, max_new_tokens, *, temperature=0.0, uniforms_BN=None, eos_id=None):
    tokens, logprobs = _whole(
        model,
        prompt_BT,
        max_new_tokens,
        temperature=temperature,
        uniforms_BN=uniforms_BN,
        eos_id=eos_id,
    )
    made = max_new_tokens
    if len(prompt_BT) == 1 and eos_id is not None:
        made = int((logprobs != 0).sum())
    return tokens[:, :made], logprobs[:, :made]
