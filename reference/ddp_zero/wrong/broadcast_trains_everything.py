# base = "solution"
# caught_by = "broadcast_module.in_place"
# cause = "wrong_value"
# also_fails = []

"""Every parameter requires a gradient afterwards, frozen ones too."""

# ruff: noqa: F821 - appended to solution.py

_broadcast = broadcast_module


def broadcast_module(module):
    _broadcast(module)
    for param in module.parameters():
        param.requires_grad_(True)
