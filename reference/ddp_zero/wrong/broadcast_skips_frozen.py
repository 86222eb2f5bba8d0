# base = "solution"
# caught_by = "broadcast_module.parameters"
# cause = "wrong_value"
# also_fails = ["broadcast_module.in_place"]

"""Sends what is trained, and the buffers; frozen parameters keep what each rank began with."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    trained = [param for param in module.parameters() if param.requires_grad]
    for tensor in (*trained, *module.buffers()):
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, src=0)
        tensor.detach().copy_(sent)
