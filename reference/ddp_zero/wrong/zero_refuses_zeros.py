# base = "solution"
# caught_by = "ZeroOptimizer.groups"
# cause = "crash"
# also_fails = []

"""Refuses betas, eps and learning rates of 0, which are in range."""

# ruff: noqa: F821 - appended to solution.py


class _Named:
    require = staticmethod(_require_options)


def _require_options(options):
    _Named.require(options)
    if not all((options["lr"], options["eps"], *options["betas"])):
        raise ValueError("options: expected numbers above 0")
