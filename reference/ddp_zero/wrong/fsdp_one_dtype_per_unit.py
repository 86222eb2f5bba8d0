# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "crash"
# also_fails = []

"""Takes the dtype of a unit from its first parameter."""

# ruff: noqa: F821 - appended to solution.py


class _Unit(_Unit):
    def __init__(self, params):
        kinds = {param.dtype for param in params}
        if len(kinds) > 1:
            raise ValueError("a unit has one dtype")
        super().__init__(params)
