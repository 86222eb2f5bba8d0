# base = "solution"
# caught_by = "ZeroOptimizer.groups"
# cause = "wrong_value"
# also_fails = []

"""Has no decay where the caller names none."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, params, **options):
        super().__init__(params, **{"weight_decay": 0.0, **options})
