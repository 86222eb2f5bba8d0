"""The ledger of promises: who asks each sentence that students read, and what breaks it.

Takes: `reference/<slug>/promises.toml`, starter and handout, the known submissions. Gives: a
complaint for each sentence that nobody asks and for each entry that does not hold, and a table.
Does not cover: whether a known submission fails what its header says (see `kill_matrix`).

    sections = ["What you build"]                 # parts of README.md that demand something

    [[promise]]
    where = "starter.py::KVCache.append"          # or "starter.py", "README.md::What you build"
    says = "Store a copy of T more tokens."       # word for word; one sentence, several or a part
    asked_by = ["KVCache.owns_memory"]            # checks or targets
    broken_by = "cache_keeps_a_view"              # of wrong/: fails all of these, nothing else

    [[promise]]
    where = "starter.py"
    says = "device: where the buffers live."
    not_graded = "Everything runs on the CPU."    # word for word in README.md or starter.py
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import cattrs

from grader.assignment.loaded import LoadedAssignment
from grader.errors import AuthorError
from grader.strict import find_mistakes, strict_converter
from grader.validate.known_submission import Kind, KnownSubmission
from grader.validate.sentences import (
    HANDOUT,
    RULES,
    STARTER,
    Passage,
    Sentence,
    fold,
    read_handout,
    read_starter,
)

LEDGER_FILE = "promises.toml"

_TABLE = re.compile(r"\s*\[\[\s*promise\s*\]\]")
_PLACE = re.compile(r"\.?promise\[(\d+)\](?:\.(.+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One entry of a ledger, see the module's text.

    Attributes:
        where: file, and after `::` a name whose docstring it is (its members included), or the
            title of a section.
        says: the text, word for word but for markup and white space.
        asked_by: checks and targets, as `problem.check`.
        broken_by: known-wrong submission that fails all of them and nothing else.
        not_graded: instead of both: a sentence of handout or starter that says so.
    """

    where: str
    says: str
    asked_by: tuple[str, ...] = ()
    broken_by: str = ""
    not_graded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A file of promises.

    Attributes:
        sections: of the handout, whose every sentence needs a promise.
        promise: the entries.
    """

    sections: tuple[str, ...] = ()
    promise: tuple[Promise, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """Counts of one exported name (its members included), of the rules, or of a section."""

    place: str
    sentences: int
    promises: int
    asked: int
    not_graded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerResult:
    """What comparing a ledger with its assignment gives.

    Attributes:
        rows: in the order of starter, then handout.
        complaints: everything that must be fixed.
    """

    rows: tuple[LedgerRow, ...] = ()
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Texts:
    """What students read: passages whose every word needs a promise, and all text, folded."""

    passages: tuple[Passage, ...]
    files: dict[str, str]


def read_ledger(path: Path) -> Ledger:
    """Read a file of promises.

    Raises:
        AuthorError: if it is no TOML, or a value is not what it should be; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table: dict[str, Any] = tomllib.loads(text)
        ledger = strict_converter().structure(table, Ledger)
    except cattrs.BaseValidationError as error:
        mistake = find_mistakes(error)[0]
        _fail(path, text, mistake.path, mistake.what)
    except (OSError, ValueError, RecursionError) as error:
        raise AuthorError(f"{path}: {error}") from error
    for number, one in enumerate(ledger.promise):
        at = f"promise[{number}]"
        if not fold(one.says):
            _fail(path, text, f"{at}.says", "expected a text, found an empty one")
        if bool(one.not_graded) is bool(one.asked_by or one.broken_by):
            _fail(path, text, at, "expected either `asked_by` and `broken_by`, or `not_graded`")
        if bool(one.asked_by) is not bool(one.broken_by):
            _fail(path, text, at, "expected both `asked_by` and `broken_by`, found one of them")
    return ledger


def compare_ledger(
    loaded: LoadedAssignment, known_submissions: Iterable[KnownSubmission]
) -> LedgerResult:
    """Compare the ledger of an assignment with what students read and with `wrong/`.

    Raises:
        AuthorError: if the ledger or the starter cannot be read.
    """
    path = loaded.reference / LEDGER_FILE
    if not path.is_file():
        missing = f"{path}: not found; write down who asks each sentence of starter and handout"
        return LedgerResult(complaints=(missing,))
    ledger = read_ledger(path)
    texts = _read_texts(loaded, ledger)
    lines = _lines(path.read_text(encoding="utf-8"))
    wrong = {one.name: one for one in known_submissions if one.kind is Kind.WRONG}
    checks = {f"{p.name}.{c.name}" for p in loaded.plan.problems for c in p.criteria}
    found: list[list[_Span]] = []
    complaints = []
    for number, promise in enumerate(ledger.promise):
        spans, problems = _locate(promise, texts)
        problems += _complain_of_entry(promise, checks, wrong, texts)
        found.append(spans)
        complaints += [f"{path}, line {lines[number]}: {problem}" for problem in problems]
    for title in ledger.sections:
        if not any(one.file == HANDOUT and one.place == title for one in texts.passages):
            complaints.append(f"{path}: sections: {HANDOUT} has no section {title!r}")
    all_spans = [span for spans in found for span in spans]
    complaints += _complain_of_gaps(loaded.folder, texts.passages, all_spans)
    rows = _rows(texts.passages, ledger.promise, found)
    return LedgerResult(rows=rows, complaints=tuple(complaints))


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a promise stands: a passage, and the characters of its text."""

    passage: Passage
    begin: int
    end: int


def _read_texts(loaded: LoadedAssignment, ledger: Ledger) -> _Texts:
    exports = [name for problem in loaded.plan.problems for name in problem.exports]
    paths = {name: loaded.folder / name for name in (STARTER, HANDOUT)}
    files = {n: p.read_text(encoding="utf-8") if p.is_file() else "" for n, p in paths.items()}
    try:
        passages = read_starter(files[STARTER], exports)
    except SyntaxError as error:
        raise AuthorError(f"{loaded.folder / STARTER}: {error}") from error
    sections = (read_handout(files[HANDOUT], title) for title in ledger.sections)
    return _Texts(
        passages=(*passages, *(one for one in sections if one.sentences)),
        files={name: fold(re.sub(r"(?m)^# ?", "", text)) for name, text in files.items()},
    )


def _locate(promise: Promise, texts: _Texts) -> tuple[list[_Span], list[str]]:
    """Return where the text of a promise stands, and what is wrong with that."""
    file, _, place = promise.where.partition("::")
    if file not in texts.files:
        return [], [f"where: expected {STARTER} or {HANDOUT}, found {file!r}"]
    within = [one for one in texts.passages if one.file == file and _is_in(one.place, place)]
    if place and not within:
        return [], [f"where: {file} has no {place!r}, or it is no section of the ledger"]
    text = fold(promise.says)
    spans = [
        _Span(passage, match.start(), match.end())
        for passage in within
        for match in re.finditer(re.escape(text), passage.text)
    ]
    places = list(dict.fromkeys(span.passage.place for span in spans))
    if not spans and (place or text not in texts.files[file]):
        return [], [f"says: not in {promise.where}: {text!r}{_nearest(text, within)}"]
    if len(places) > 1 and promise.asked_by:
        named = ", ".join(f'"{file}::{one}"' for one in places)
        return spans, [f"says: stands in several places; choose `where` among {named}: {text!r}"]
    return spans, []


def _is_in(name: str, place: str) -> bool:
    return not place or name == place or name.startswith(f"{place}.")


def _nearest(text: str, passages: Iterable[Passage]) -> str:
    sentences = [sentence.text for passage in passages for sentence in passage.sentences]
    near = difflib.get_close_matches(text, sentences, n=1)
    return f"; the nearest sentence is {near[0]!r}" if near else ""


def _complain_of_entry(
    promise: Promise, checks: set[str], wrong: dict[str, KnownSubmission], texts: _Texts
) -> Iterator[str]:
    """Yield why the checks, the breaker or the reason of a promise do not hold."""
    if promise.not_graded:
        if not any(fold(promise.not_graded) in text for text in texts.files.values()):
            yield (
                f"not_graded: neither {HANDOUT} nor {STARTER} says so to students: "
                f"{promise.not_graded!r}"
            )
        return
    unknown = sorted(set(promise.asked_by) - checks)
    if unknown:
        yield f"asked_by: no check or target called {', '.join(unknown)}"
    breaker = wrong.get(promise.broken_by)
    if breaker is None:
        yield f"broken_by: wrong/ has no {promise.broken_by!r}"
        return
    fails = breaker.fails | breaker.needs_review
    asked = set(promise.asked_by)
    if kept := sorted(asked - fails):
        yield f"broken_by: {breaker.path} keeps the points of {', '.join(kept)}"
    if more := sorted(fails - asked):
        yield f"broken_by: {breaker.path} also fails {', '.join(more)}, not in `asked_by`"


def _complain_of_gaps(
    folder: Path, passages: Iterable[Passage], spans: Sequence[_Span]
) -> Iterator[str]:
    """Yield a complaint for every sentence of which a word is in no promise."""
    for passage in passages:
        covered = bytearray(len(passage.text))
        for span in (one for one in spans if one.passage is passage):
            covered[span.begin : span.end] = b"\1" * (span.end - span.begin)
        begin = 0
        for sentence in passage.sentences:
            words = re.finditer(r"\w+", sentence.text)
            left = [m[0] for m in words if not all(covered[begin + m.start() : begin + m.end()])]
            begin += len(sentence.text) + 1
            if left:
                yield _describe_gap(folder, passage, sentence, left)


def _describe_gap(folder: Path, passage: Passage, sentence: Sentence, left: list[str]) -> str:
    here = f"{folder / passage.file}, line {sentence.line}: {passage.place}: no promise covers"
    if len(left) == len(re.findall(r"\w+", sentence.text)):
        return f"{here} {sentence.text!r}"
    return f"{here} the words {' '.join(left)!r} of {sentence.text!r}"


def _rows(
    passages: Iterable[Passage], promises: Sequence[Promise], found: Sequence[Sequence[_Span]]
) -> tuple[LedgerRow, ...]:
    sentences: dict[str, int] = {}
    for passage in passages:
        row = _row_of(passage)
        sentences[row] = sentences.get(row, 0) + len(passage.sentences)
    rows = []
    for row, count in sentences.items():
        mine = [
            promise
            for promise, spans in zip(promises, found, strict=True)
            if any(_row_of(span.passage) == row for span in spans)
        ]
        asked = sum(bool(one.asked_by) for one in mine)
        rows.append(
            LedgerRow(
                place=row,
                sentences=count,
                promises=len(mine),
                asked=asked,
                not_graded=len(mine) - asked,
            )
        )
    return tuple(rows)


def _row_of(passage: Passage) -> str:
    if passage.file == STARTER and passage.place != RULES:
        return passage.place.partition(".")[0]
    return passage.place


def _lines(text: str) -> list[int]:
    """Return the line of each promise; a file that writes them inline has none of these."""
    found = [number for number, line in enumerate(text.splitlines(), 1) if _TABLE.match(line)]
    count = len(tomllib.loads(text).get("promise", ()))
    return found if len(found) == count else [1] * count


def _fail(path: Path, text: str, key_path: str, what: str) -> NoReturn:
    """Raise for a wrong value.

    Raises:
        AuthorError: always.
    """
    if not (place := _PLACE.fullmatch(key_path)):
        raise AuthorError(f"{path}: {key_path.removeprefix('.') or 'the file'}: {what}")
    key = f"{place[2]}: " if place[2] else ""
    raise AuthorError(f"{path}, line {_lines(text)[int(place[1])]}: {key}{what}")
