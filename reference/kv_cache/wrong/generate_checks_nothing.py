# base = "solution"
# caught_by = "generate.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Relies on its caller: bad prompts and missing uniforms end somewhere inside."""


def _require_generate(model, prompt, count, temperature, uniforms):
    pass
