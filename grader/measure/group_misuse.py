"""What a student did wrong with torch.distributed, said in the grader's own words.

Takes: class names and text of an exception. Gives: a sentence. Does not cover: the text itself,
which may repeat hidden inputs; a sentence is chosen from those below and holds nothing of it.
"""

import re

_SENTENCES = (
    (
        r"initialize the default process group twice",
        "the ranks have joined the default process group already; use it, and call "
        "`init_process_group` nowhere in your file",
    ),
    (
        r"Default process group has not been initialized|process group .*(destroyed|not init)"
        r"|Invalid process group specified|Group .* is not registered",
        "the process group is gone: it was there when your code began, so your code must have "
        "called `destroy_process_group`, or passes a group that it was not given",
    ),
    (
        r"Connection closed by peer|Connection reset by peer|Broken pipe|Socket closed",
        "another rank left while this one was talking to it",
    ),
    (
        r"(?i)timed? ?out.*(recv|send|waiting|operation)|(recv|send|wait).*timed? ?out",
        "a collective waited for a rank that never joined it",
    ),
    (
        r"(?i)unsupported|does not support|not implemented for|no support for",
        "gloo has no such operation: build it from sends and receives, or from others",
    ),
    (
        r"op\.preamble\.(length|nbytes)|size doesn't match|different sizes|Mismatch",
        "ranks met in a collective with different sizes or in different ones",
    ),
)
_COMPILED = tuple((re.compile(pattern), sentence) for pattern, sentence in _SENTENCES)

PEER_LEFT = _SENTENCES[2][1]


def explain_misuse(names: tuple[str, ...], text: str) -> str:
    """Return a sentence for the student; empty if this is no exception of a process group.

    Source: texts of torch/distributed/distributed_c10d.py and of gloo's transport, torch 2.13.
    """
    if not {"ValueError", "RuntimeError", "AssertionError"} & set(names):
        return ""
    if not _is_of_groups(text):
        return ""
    return next((sentence for pattern, sentence in _COMPILED if pattern.search(text)), "")


def _is_of_groups(text: str) -> bool:
    return bool(re.search(r"(?i)process ?group|gloo|Group .* is not registered|c10d", text))


def is_peer_failure(names: tuple[str, ...], text: str) -> bool:
    """Return whether an exception only says that another rank has gone."""
    return explain_misuse(names, text) == PEER_LEFT
