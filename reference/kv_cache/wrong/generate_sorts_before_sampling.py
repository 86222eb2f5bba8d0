# base = "solution"
# caught_by = "generate.sampling"
# cause = "wrong_value"
# also_fails = ["generate.end_of_sequence", "generate.combinations"]

"""Accumulates the probabilities from the likeliest token down, not in order of id."""

# ruff: noqa: F821 - appended to solution.py

_choose_by_id = _choose


def _choose(z_BV, temperature, uniforms_B):
    if temperature == 0 or uniforms_B is None:
        return _choose_by_id(z_BV, temperature, uniforms_B)
    order = z_BV.argsort(dim=-1, descending=True)
    place, logp = _choose_by_id(z_BV.gather(1, order), temperature, uniforms_B)
    return order.gather(1, place[:, None])[:, 0], logp
