# base = "solution"
# caught_by = "ZeroOptimizer.groups"
# cause = "wrong_value"
# also_fails = []

"""Divides only the groups that the constructor was given: a later one never moves."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, params, **options):
        super().__init__(params, **options)
        self._first_blocks = list(self._blocks)

    @torch.no_grad()
    def step(self):
        self._blocks, whole = self.__dict__.get("_first_blocks", self._blocks), self._blocks
        super().step()
        self._blocks = whole
