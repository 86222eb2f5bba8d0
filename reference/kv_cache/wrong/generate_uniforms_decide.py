# base = "solution"
# caught_by = "generate.greedy"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Samples whenever uniforms are given, also at temperature 0."""

# ruff: noqa: F821 - appended to solution.py

_choose_by_temperature = _choose


def _choose(z_BV, temperature, uniforms_B):
    if uniforms_B is not None and temperature == 0:
        temperature = 1.0
    return _choose_by_temperature(z_BV, temperature, uniforms_B)
