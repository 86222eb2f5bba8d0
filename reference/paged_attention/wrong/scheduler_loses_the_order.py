# base = "solution"
# caught_by = "Scheduler.preemption"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""A preempted request goes to the end of the queue."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def step(self):
        plan = super().step()
        for _ in plan["preempted"]:
            self._waiting.rotate(-1)
        return plan
