# base = "solution"
# caught_by = "Scheduler.preemption"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""Whoever came first has to go first."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def _make_room(self):
        preempted = []
        for one in list(self._running):
            while one.blocks and self._needed(one) > self._free:
                oldest = self._running.pop(0)
                self._move(oldest, -oldest.blocks)
                self._waiting.appendleft(oldest)
                preempted.append(oldest.number)
            if one.blocks:
                self._move(one, self._needed(one))
        return preempted
