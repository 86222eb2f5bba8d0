# base = "solution"
# caught_by = "DDP.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but sends gradients as float64."""

# ruff: noqa: F821 - appended to solution.py


class _Bucket(_Bucket):
    def launch(self):
        for param in self.params:
            if param not in self._taken:
                self.take(param)
        self._wide = self._flat.double()
        self._work = dist.all_reduce(self._wide, async_op=True)

    def wait(self):
        super().wait()
        self._flat.copy_(self._wide)
