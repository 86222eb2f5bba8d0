# base = "solution"
# caught_by = "Scheduler.resume"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations"]

"""Puts the generated tokens of a preempted request back in reverse."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        super().add(request, prompt, max_new_tokens)
        self.__dict__.setdefault("_prompts", {})[request] = len(prompt)

    def step(self):
        plan = super().step()
        for number in plan["preempted"]:
            one, cut = self._requests[number], self._prompts[number]
            one.tokens[cut:] = one.tokens[cut:][::-1]
        return plan
