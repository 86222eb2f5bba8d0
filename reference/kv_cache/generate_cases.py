"""Cases of `generate`.

Takes: `Draw`. Gives: case makers. Does not cover: how time grows with the length.

A model whose choices are not clear in float32 is drawn again, so that rounding decides no token.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Raises, Row, case
from grader.errors import AuthorError

from .inputs import draw_model, new_model
from .oracle import Continuation, ModelSpec, continuation, end_rows, in_float64, last_logits

LOGIT_MARGIN = 0.01
UNIFORM_MARGIN = 1e-4
TEMPERATURES = (1.5, 2.5, 5.0, 10.0)
"""The higher, the likelier is any given token."""
MAX_DRAWS = 200
BELOW_ONE = 1 - 2.0**-24
"""The largest float32 below 1: a sum of probabilities may round to less."""

ENDS = ("left out", "None", "never", "one row", "one row at once", "all rows")
VIEWS = ("contiguous", "steps before rows", "every other entry")
GENERATE = Factors(
    "generate",
    {
        "rows": (3, 1),
        "prompt": (3, 1, 70),
        "at once": (64, 1, 4),
        "heads": (1, 2),
        "group": (1, 3),
        "new tokens": (3, 1, 0),
        "temperature": (0.0, 0.7, 2.5),
        "end": ENDS,
        "end is id 0": (False, True),
        "view of the prompt": VIEWS,
        "view of the uniforms": VIEWS,
    },
    excluded=(
        Excluded(
            "one token at a time through a long prompt costs time",
            lambda row: row["prompt"] == 70 and row["at once"] == 1,
        ),
        Excluded(
            "without new tokens nothing ends, with one only at once",
            lambda row: row["new tokens"] < (0, 0, 0, 2, 1, 1)[ENDS.index(row["end"])],
        ),
        Excluded(
            "no id ends a row",
            lambda row: row["end is id 0"] and row["end"] in ("left out", "None"),
        ),
    ),
)
"""At once: tokens that the model takes. The uniforms are given for greedy choices as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    spec: ModelSpec
    prompt: torch.Tensor
    count: int
    free: Continuation


def _clear_task(draw: Draw, *, rows: int, length: int, count: int, max_tokens: int = 64) -> _Task:
    """Draw model and prompt until each greedy choice is clear."""
    for _ in range(MAX_DRAWS):
        spec = draw_model(draw, max_tokens=max_tokens)
        prompt = draw.integer_tensor(rows, length, low=0, high=spec.vocab_size - 1)
        free = continuation(spec, prompt, count, least_margin=LOGIT_MARGIN)
        if free.margin > LOGIT_MARGIN:
            return _Task(spec=spec, prompt=prompt, count=count, free=free)
    raise AuthorError(f"no clear continuation in {MAX_DRAWS} draws")


@case("generate", "greedy", public=1, hidden=2)
def greedy(draw: Draw) -> CaseSteps:
    """Temperature 0 takes the likeliest token, whether or not uniforms are given."""
    count = draw.integer(6, 9)
    task = _clear_task(draw, rows=draw.integer(1, 3), length=draw.integer(3, 8), count=count)
    model = yield new_model(task.spec)
    uniforms = draw.uniform_tensor(len(task.prompt), task.count)
    for keywords in ({}, {"uniforms_BN": uniforms}):
        got = yield Call("generate", model, task.prompt, task.count, **keywords)
        want = (task.free.tokens, task.free.logprobs)
        given = " with uniforms" if keywords else ""
        yield Expect(got, want, label=f"tokens and log-probabilities{given}")
    got = yield Call("generate", model, task.prompt, 0)
    nothing = (task.free.tokens[:, :0], task.free.logprobs[:, :0])
    yield Expect(got, nothing, label="no new tokens")


@case("generate", "prompt_of_one", hidden=2)
def prompt_of_one(draw: Draw) -> CaseSteps:
    """A prompt of a single token."""
    task = _clear_task(draw, rows=draw.integer(1, 3), length=1, count=draw.integer(5, 8))
    model = yield new_model(task.spec)
    got = yield Call("generate", model, task.prompt, task.count)
    want = (task.free.tokens, task.free.logprobs)
    yield Expect(got, want, label="tokens and log-probabilities")


@case("generate", "long_prompt", public=1, hidden=3)
def long_prompt(draw: Draw) -> CaseSteps:
    """A prompt longer than the model takes at once: chunks continue positions and mask."""
    max_tokens = draw.integer(2, 5)
    length = max_tokens * 3 - (0 if draw.index == 1 else draw.integer(1, max_tokens - 1))
    task = _clear_task(draw, rows=2, length=length, count=4, max_tokens=max_tokens)
    model = yield new_model(task.spec)
    got = yield Call("generate", model, task.prompt, task.count)
    want = (task.free.tokens, task.free.logprobs)
    yield Expect(got, want, label="tokens and log-probabilities")


@case("generate", "sampling", public=1, hidden=3)
def sampling(draw: Draw) -> CaseSteps:
    """Temperature above 0 inverts the cumulative distribution at the uniforms given."""
    rows, length, count = draw.integer(2, 3), draw.integer(2, 6), draw.integer(6, 8)
    for _ in range(MAX_DRAWS):
        spec = draw_model(draw)
        temperature = draw.choice((0.6, 1.5, 2.5))
        prompt = draw.integer_tensor(rows, length, low=0, high=spec.vocab_size - 1)
        uniforms = draw.uniform_tensor(rows, count)
        uniforms[0, 0], uniforms[1, 0] = 0.0, BELOW_ONE
        free = continuation(
            spec,
            prompt,
            count,
            temperature=temperature,
            uniforms=uniforms,
            least_margin=UNIFORM_MARGIN,
        )
        if free.margin > UNIFORM_MARGIN:
            break
    else:
        raise AuthorError(f"no clear sample in {MAX_DRAWS} draws")
    model = yield new_model(spec)
    got = yield Call(
        "generate", model, prompt, count, temperature=temperature, uniforms_BN=uniforms
    )
    yield Expect(got, (free.tokens, free.logprobs), label="tokens and log-probabilities")


@case("generate", "end_of_sequence", public=2, hidden=2)
def end_of_sequence(draw: Draw) -> CaseSteps:
    """Rows end at different steps, one perhaps at once, and the others go on.

    Greedy and sampled; the id that ends a row may be 0.
    """
    count = 7
    for _ in range(MAX_DRAWS):
        task = _clear_task(draw, rows=3, length=draw.integer(2, 5), count=count)
        step = 0 if draw.index % 2 else draw.integer(1, 3)
        eos_id = int(task.free.tokens[0, step])
        ends = _ends(task.free, eos_id)
        if ends[0] == step and max(ends) >= step + 3:
            break
    else:
        raise AuthorError(f"no rows of different lengths in {MAX_DRAWS} draws")
    if draw.index % 4 in (1, 2):
        task, eos_id = _exchange(task, eos_id, 0), 0
    model = yield new_model(task.spec)
    got = yield Call("generate", model, task.prompt, task.count, eos_id=eos_id)
    yield Expect(got, end_rows(task.free, eos_id), label="tokens and log-probabilities")
    keywords, sampled = _clear_sample(draw, task, eos_id)
    got = yield Call("generate", model, task.prompt, task.count, eos_id=eos_id, **keywords)
    yield Expect(got, end_rows(sampled, eos_id), label="tokens and log-probabilities, sampled")


def _ends(found: Continuation, eos_id: int) -> list[int]:
    """Return the step at which each row ends; one beyond the last if it does not."""
    rows = found.tokens.tolist()
    return [row.index(eos_id) if eos_id in row else len(row) for row in rows]


def _exchange(task: _Task, one: int, other: int) -> _Task:
    """Exchange two token ids everywhere."""
    order = torch.arange(task.spec.vocab_size)
    order[one], order[other] = other, one
    weights = dict(task.spec.weights)
    weights["embed"], weights["unembed"] = weights["embed"][order], weights["unembed"][:, order]
    free = replace(task.free, tokens=order[task.free.tokens])
    spec = replace(task.spec, weights=weights)
    return replace(task, spec=spec, prompt=order[task.prompt], free=free)


def _clear_sample(draw: Draw, task: _Task, eos_id: int) -> tuple[dict[str, Any], Continuation]:
    """Draw uniforms with which one row ends at once and another one goes on."""
    z = last_logits(in_float64(task.spec), task.prompt)
    for attempt in range(MAX_DRAWS):
        temperature = TEMPERATURES[attempt % len(TEMPERATURES)]
        p = torch.softmax(z / temperature, dim=-1)
        row = int(p[:, eos_id].argmax())
        uniforms = draw.uniform_tensor(len(task.prompt), task.count)
        uniforms[row, 0] = p[row, :eos_id].sum() + p[row, eos_id] / 2
        keywords: dict[str, Any] = {"temperature": temperature}
        free = continuation(
            *(task.spec, task.prompt, task.count),
            **keywords,
            uniforms=uniforms,
            least_margin=UNIFORM_MARGIN,
        )
        if free.margin > UNIFORM_MARGIN and max(_ends(free, eos_id)) >= 2:
            return {**keywords, "uniforms_BN": uniforms}, free
    raise AuthorError(f"no clear sample in which a row ends in {MAX_DRAWS} draws")


@case("generate", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Prompts, counts, temperatures or uniforms that make no sense raise ValueError."""
    spec = draw_model(draw)
    model = yield new_model(spec)
    prompt = draw.integer_tensor(2, 3, low=0, high=spec.vocab_size - 1)
    high, low = prompt.clone(), prompt.clone()
    high[1, 2], low[0, 0] = spec.vocab_size, -1
    uniforms = draw.uniform_tensor(2, 4)
    sampled = {"temperature": 1.0}
    bad = [
        ("an empty prompt", (prompt[:, :0], 4), {}),
        ("no rows", (prompt[:0], 4), {}),
        ("a prompt without a batch dimension", (prompt[0], 4), {}),
        ("a float prompt", (prompt.float(), 4), {}),
        ("an id beyond the vocabulary", (high, 4), {}),
        ("a negative id", (low, 4), {}),
        ("a negative count", (prompt, -1), {}),
        ("a negative temperature", (prompt, 4), {"temperature": -0.5, "uniforms_BN": uniforms}),
        ("sampling without uniforms", (prompt, 4), sampled),
        ("sampling nothing without uniforms", (prompt, 0), sampled),
        ("uniforms of 3 dimensions", (prompt, 4), {**sampled, "uniforms_BN": uniforms[..., None]}),
        ("uniforms for fewer steps", (prompt, 4), {**sampled, "uniforms_BN": uniforms[:, :3]}),
        ("uniforms for one row", (prompt, 4), {**sampled, "uniforms_BN": uniforms[:1]}),
    ]
    for what, arguments, keywords in draw.shuffled(bad):
        yield Raises(Call("generate", model, *arguments, **keywords), "ValueError", what)


def _viewed(x: torch.Tensor, view: str) -> torch.Tensor:
    """Return [B, N] with the same entries, in another order in memory."""
    if view == "steps before rows":
        return x.T.contiguous().T
    return x.repeat_interleave(2, dim=1)[:, ::2] if view == "every other entry" else x


def _settled(draw: Draw, row: Row) -> tuple[_Task, torch.Tensor, int] | None:
    """Draw model, prompt and uniforms; None if a choice is not clear or no row ends as it should.

    Rows end with id 0 or the last one: a uniform of 0 samples the one, the largest the other.
    Greedy choices are exchanged with it. For all rows to end, they are equal.
    """
    rows, count, sampled = row["rows"], row["new tokens"], row["temperature"] > 0
    spec = draw_model(draw, max_tokens=row["at once"], kv_heads=row["heads"], group=row["group"])
    end = 0 if row["end is id 0"] else spec.vocab_size - 1
    prompt = draw.integer_tensor(rows, row["prompt"], low=0, high=spec.vocab_size - 1)
    uniforms = draw.uniform_tensor(rows, count)
    step = 0 if row["end"] == "one row at once" else min(1, count - 1)
    if row["end"] in ENDS[3:]:
        ending = slice(None) if row["end"] == "all rows" else slice(1)
        uniforms[ending, step] = BELOW_ONE if end else 0.0
    if row["end"] == "all rows" and not sampled:
        prompt = prompt[:1].repeat(rows, 1)
    margin = UNIFORM_MARGIN if sampled else LOGIT_MARGIN
    free = continuation(
        *(spec, prompt, count),
        temperature=row["temperature"],
        uniforms=uniforms,
        least_margin=margin,
    )
    if free.margin <= margin:
        return None
    task = _Task(spec=spec, prompt=prompt, count=count, free=free)
    if row["end"] in ENDS[3:] and not sampled:
        task = _exchange(task, int(free.tokens[0, step]), end)
    found = [at <= count - 1 for at in _ends(task.free, end)]
    as_it_should = {"never": not any(found), "all rows": all(found)}
    return (task, uniforms, end) if as_it_should.get(row["end"], True) else None


@case("generate", "combinations", public=3, hidden=5, factors=GENERATE)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: rows, prompts up to 70 tokens, chunks, shared heads, greedy or sampled.

    Rows that end late, at once, all together or not at all, with id 0 or another; any strides.
    """
    found = next(filter(None, (_settled(draw, row) for _ in range(MAX_DRAWS))), None)
    if found is None:
        raise AuthorError(f"no clear continuation in {MAX_DRAWS} draws")
    task, uniforms, end = found
    model = yield new_model(task.spec)
    keywords: dict[str, Any] = {
        "temperature": row["temperature"],
        "uniforms_BN": _viewed(uniforms, row["view of the uniforms"]),
    }
    if row["end"] != "left out":
        keywords["eos_id"] = None if row["end"] == "None" else end
    prompt = _viewed(task.prompt, row["view of the prompt"])
    got = yield Call("generate", model, prompt, task.count, **keywords)
    ended = end_rows(task.free, -1 if keywords.get("eos_id") is None else end)
    yield Expect(got, ended, label="tokens and log-probabilities")
