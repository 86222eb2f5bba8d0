# base = "solution"
# caught_by = "ZeroOptimizer.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes any option of AdamW."""


def _require_options(options):
    pass
