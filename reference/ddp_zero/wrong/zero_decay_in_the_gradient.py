# base = "solution"
# caught_by = "ZeroOptimizer.stage_1"
# cause = "wrong_value"
# also_fails = [
#   "ZeroOptimizer.stage_2",
#   "ZeroOptimizer.uneven_shards",
#   "ZeroOptimizer.groups",
#   "ZeroOptimizer.unused",
#   "ZeroOptimizer.checkpoint",
#   "ZeroOptimizer.bad_input",
# ]

"""Adds weight decay to the gradient, as Adam does, not as AdamW."""


def _adamw(weight, gradient, moments, step, group):
    beta1, beta2 = group["betas"]
    first, second = moments
    gradient = gradient + group["weight_decay"] * weight
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    denominator = (second / (1 - beta2**step)).sqrt_().add_(group["eps"])
    weight.addcdiv_(first, denominator, value=-group["lr"] / (1 - beta1**step))
