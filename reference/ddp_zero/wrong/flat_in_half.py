# base = "solution"
# caught_by = "DDP.flat"
# cause = "wrong_value"
# also_fails = []

"""`average_gradients` sends gradients as bfloat16."""

# ruff: noqa: F821 - appended to solution.py


def average_gradients(module):
    params = [param for param in module.parameters() if param.requires_grad]
    used = dict(zip(params, _used_somewhere(params), strict=True))
    for param in params:
        if used[param]:
            gradient = torch.zeros_like(param) if param.grad is None else param.grad
            sent = gradient.to(torch.bfloat16)
            dist.all_reduce(sent)
            param.grad = (sent.float() / dist.get_world_size()).to(param.dtype)
