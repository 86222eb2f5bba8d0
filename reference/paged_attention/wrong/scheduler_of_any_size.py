# base = "solution"
# caught_by = "Scheduler.combinations"
# cause = "wrong_error"
# also_fails = []

"""Makes a scheduler whose sizes are 0."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def __init__(self, n_blocks, block_size, *, max_running, eos_id):
        sizes = max(n_blocks, 1), max(block_size, 1)
        super().__init__(*sizes, max_running=max(max_running, 1), eos_id=eos_id)
