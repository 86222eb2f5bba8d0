# base = "solution"
# caught_by = "generate.bad_input"
# cause = "wrong_error"
# also_fails = []
"""Does not look at the uniforms if no token is asked for."""
# ruff: noqa: F821 - appended to solution.py

_checked = _require_generate


def _require_generate(model, prompt, count, temperature, uniforms):
    _checked(model, prompt, count, temperature if count else min(temperature, 0.0), uniforms)
