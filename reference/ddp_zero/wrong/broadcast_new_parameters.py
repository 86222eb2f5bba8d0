# base = "solution"
# caught_by = "broadcast_module.in_place"
# cause = "wrong_value"
# also_fails = []

"""Right numbers in the old memory, under new parameters: an optimizer steps the old ones."""

# ruff: noqa: F821 - appended to solution.py


def broadcast_module(module):
    new = {}
    for tensor in (*module.parameters(), *module.buffers()):
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, src=0)
        tensor.detach().copy_(sent)
        if isinstance(tensor, Parameter):
            new[tensor] = Parameter(tensor.detach(), tensor.requires_grad)
    for part in module.modules():
        for name, param in part.named_parameters(recurse=False, remove_duplicate=False):
            setattr(part, name, new[param])
