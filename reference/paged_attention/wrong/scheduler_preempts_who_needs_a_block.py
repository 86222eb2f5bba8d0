# base = "solution"
# caught_by = "Scheduler.preemption"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""Whoever finds no block goes itself, though a newer one runs."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def _make_room(self):
        preempted = []
        for one in list(self._running):
            if self._needed(one) > self._free:
                self._running.remove(one)
                self._move(one, -one.blocks)
                self._waiting.appendleft(one)
                preempted.append(one.number)
            else:
                self._move(one, self._needed(one))
        return preempted
