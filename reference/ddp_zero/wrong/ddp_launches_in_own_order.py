# base = "solution"
# caught_by = "DDP.unused"
# cause = "crash"
# also_fails = []

"""Launches whatever bucket is complete: ranks that used different parameters mix their buckets."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def _on_gradient(self, param):
        if not self._syncs:
            return
        bucket = self._bucket_of[param]
        bucket.take(param)
        if bucket.complete:
            bucket.launch()

    def finish_backward(self):
        for bucket in self._buckets:
            if not bucket.complete:
                bucket.launch()
        self._launched = len(self._buckets)
        super().finish_backward()
