# base = "solution"
# caught_by = "DDP.unused"
# cause = "wrong_value"
# also_fails = []

"""Finds out once which parameters are used anywhere, and believes it for good."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def finish_backward(self):
        self._launch(len(self._buckets))
        if not hasattr(self, "_used"):
            self._used = dict(zip(self._params, _used_somewhere(self._params), strict=True))
        for bucket in self._buckets:
            bucket.wait()
            for param in bucket.params:
                if self._used[param]:
                    bucket.give_back(param)
        self._launched = 0
