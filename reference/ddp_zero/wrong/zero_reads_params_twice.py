# base = "solution"
# caught_by = "ZeroOptimizer.combinations"
# cause = "wrong_value"
# also_fails = []

"""Looks at the first of `params` and then reads on: of an iterator the first is lost."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, params, **options):
        if not isinstance(next(iter(params), {}), dict):
            params = [{"params": params}]
        super().__init__(params, **options)
