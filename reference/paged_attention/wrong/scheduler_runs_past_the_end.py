# base = "solution"
# caught_by = "Scheduler.ending"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""Does not look at the end-of-sequence token."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def __init__(self, n_blocks, block_size, *, max_running, eos_id):
        super().__init__(n_blocks, block_size, max_running=max_running, eos_id=-1)
