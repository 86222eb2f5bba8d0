# base = "solution"
# caught_by = "Scheduler.resume"
# cause = "wrong_value"
# also_fails = ["Scheduler.combinations", "Scheduler.refusals"]

"""Returns the tokens that were generated, without the prompt."""

# ruff: noqa: F821 - appended to solution.py


class Scheduler(Scheduler):
    def add(self, request, prompt, max_new_tokens):
        super().add(request, prompt, max_new_tokens)
        self.__dict__.setdefault("_prompts", {})[request] = len(prompt)

    def tokens(self, request):
        found = super().tokens(request)
        return found[self._prompts[request] :]
