"""The one way in which reading a notebook ends early.

Takes: what was expected and found. Gives: `Refusal`. Does not cover: notices, which end nothing.
"""


class Refusal(Exception):
    """A notebook that cannot be taken in: the student's fault.

    Attributes:
        message: what was expected and what was found.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def clip(text: str, length: int = 60) -> str:
    """Return hostile text as it may stand in a message: printable, on one line, not long."""
    line = " ".join(text[: 4 * length].split())
    line = "".join(c if c.isprintable() else "?" for c in line).replace("`", "'")
    return line if len(line) <= length else line[: length - 1] + "…"
