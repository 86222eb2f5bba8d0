# base = "solution"
# caught_by = "PrefixCache.shared_prefix"
# cause = "wrong_value"
# also_fails = ["PrefixCache.combinations"]

"""Finds every block of a known prompt, so that nothing is left to compute."""

# ruff: noqa: F821 - appended to solution.py


class PrefixCache(PrefixCache):
    def _hits(self, full, most):
        return super()._hits(full, len(full))
