# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes an end-of-sequence token of 0 for none."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def __init__(self, n_blocks, block_size, *, max_running, eos_id):
        super().__init__(n_blocks, block_size, max_running=max_running, eos_id=eos_id or None)
