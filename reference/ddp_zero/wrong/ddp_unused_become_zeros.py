# base = "solution"
# caught_by = "DDP.unused"
# cause = "wrong_value"
# also_fails = ["DDP.training"]

"""Gives every parameter a gradient, zeros where no rank had one: weight decay moves them."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def finish_backward(self):
        self._launch(len(self._buckets))
        for bucket in self._buckets:
            bucket.wait()
            for param in bucket.params:
                bucket.give_back(param)
        self._launched = 0
