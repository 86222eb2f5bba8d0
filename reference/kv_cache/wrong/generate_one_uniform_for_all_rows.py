# base = "solution"
# caught_by = "generate.sampling"
# cause = "wrong_value"
# also_fails = ["generate.end_of_sequence", "generate.combinations"]

"""Takes the first row's uniform for every row."""

# ruff: noqa: F821 - appended to solution.py

_choose_per_row = _choose


def _choose(z_BV, temperature, uniforms_B):
    if uniforms_B is not None:
        uniforms_B = uniforms_B[:1].expand(uniforms_B.shape)
    return _choose_per_row(z_BV, temperature, uniforms_B)
