# base = "solution"
# caught_by = "ZeroOptimizer.stage_1"
# cause = "wrong_value"
# also_fails = []

"""Takes stage 2 where the caller names none: the gradients are gone before the step."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, params, **options):
        super().__init__(params, **{"stage": 2, **options})
