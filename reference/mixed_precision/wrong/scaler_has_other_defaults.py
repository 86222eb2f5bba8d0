# base = "solution"
# caught_by = "GradScaler.save_and_load"
# cause = "wrong_value"

"""Grows after 1000 rounds where no interval is given."""

# ruff: noqa: F821 - appended to solution.py


class GradScaler(GradScaler):
    def __init__(self, *, growth_interval=1000, **keywords):
        super().__init__(growth_interval=growth_interval, **keywords)
