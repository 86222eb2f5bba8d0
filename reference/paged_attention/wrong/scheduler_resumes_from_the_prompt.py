# base = "solution"
# caught_by = "Scheduler.resume"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations", "Scheduler.preemption"]

"""A preempted request forgets what it has generated."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        super().add(request, prompt, max_new_tokens)
        self.__dict__.setdefault("_prompts", {})[request] = list(prompt)

    def step(self):
        plan = super().step()
        for number in plan["preempted"]:
            self._requests[number].tokens = list(self._prompts[number])
        return plan
