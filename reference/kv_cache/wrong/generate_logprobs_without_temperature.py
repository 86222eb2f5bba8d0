# base = "solution"
# caught_by = "generate.sampling"
# cause = "wrong_value"
# also_fails = ["generate.end_of_sequence", "generate.combinations"]

"""Reports log-probabilities of the model, not of the distribution it sampled from."""

# ruff: noqa: F821 - appended to solution.py

_choose_sampled = _choose


def _choose(z_BV, temperature, uniforms_B):
    chosen, _ = _choose_sampled(z_BV, temperature, uniforms_B)
    return chosen, torch.log_softmax(z_BV, dim=-1).gather(1, chosen[:, None])[:, 0]
