# base = "solution"
# caught_by = "generate.sampling"
# cause = "wrong_value"
# also_fails = ["generate.combinations"]

"""Takes token 0 where rounding leaves no cumulative probability above a uniform."""

# ruff: noqa: F821 - appended to solution.py

_choose_last_of_none = _choose


def _choose(z_BV, temperature, uniforms_B):
    if temperature == 0 or uniforms_B is None:
        return _choose_last_of_none(z_BV, temperature, uniforms_B)
    logp = torch.log_softmax(z_BV / temperature, dim=-1)
    cumulative = logp.double().exp().cumsum(dim=-1) * (1 - 1e-6)
    chosen = (cumulative > uniforms_B.double()[:, None]).int().argmax(dim=-1)
    return chosen, logp.gather(1, chosen[:, None])[:, 0]
