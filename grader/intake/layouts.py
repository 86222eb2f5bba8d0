"""How course sites name what they export: whose a file or folder is, and which attempt.

| site | a student's files |
|---|---|
| Blackboard | `HW1_user_attempt_2026-02-03-10-11-12_kv_cache.py`, and a text for each attempt |
| Brightspace (D2L) | `12345-67890 - Ada Example - Feb 3, 2026 1011 AM/`, one for each attempt |
| Canvas | `exampleada_LATE_4711_99001_kv_cache-1.py`, a text `exampleada_4711_text.html` |
| GitHub Classroom | `hw1-username/`, repositories |
| Gradescope | `submission_123/`, and `submission_metadata.yml` says whose it is |
| Moodle | `Ada Example_101_assignsubmission_file_/`, or the same before each file's name |

All but GitHub Classroom and Gradescope tell it in each name alone: `identify` reads it, and `join`
puts together what belongs to one student. Names are read, files are not, but for two kinds of text
that course sites write: Gradescope's list and Blackboard's text files.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from grader.intake.submission import Attachment, Layout, Person, SubmissionSource

GRADESCOPE_LIST = "submission_metadata.yml"
MAX_LIST_BYTES = 32 << 20
MAX_STUB_BYTES = 1 << 20
TYPED = "text typed into the course site"
"""What a text of the course site is called in messages: its own name tells a student nothing."""

# Source: lib/content_zipper.rb of Canvas; graded without names, `anon_<id>` is all that is told.
_CANVAS = (
    r"(?:(?=(?:LATE_)?anon_)|(?P<who>\w+?)_)(?P<late>LATE_)?(?P<id>\d{1,20}|anon_[^\W_]{5})"
    r"_(?:(?P<order>\d{1,20})_(?P<file>.+)|(?P<text>text|link)\.html)"
)
_RESUBMISSION = re.compile(r"-\d{1,2}(?=\.[^.]+\Z)")
# Source: mod/assign/classes/downloader.php of Moodle; feedback is no work, as typed text is none.
_MOODLE = (
    r"(?P<who>.+?)(?:_(?P<id>\d{1,20}))?"
    r"_assign(?:submission_file|(?:submission|feedback)_(?P<text>[a-z]+))(?:_(?P<file>.*))?"
)
_BRIGHTSPACE = (
    r"(?P<id>\d{1,20})-\d{1,20} - (?P<who>.+?)"
    r" - (?P<date>[^-]*\b\d{4}\b[^-]*?)(?: - (?P<file>.+))?"
)
_BLACKBOARD = (
    r"(?P<title>.+)_(?P<id>[^_]+)_attempt_(?P<date>\d{4}(?:-\d{2}){5})"
    r"(?:_(?P<file>.+)|(?P<text>\.txt))?"
)
_NAMES = (
    # Layout, pattern, what tells an owner from all others, what the submission is called.
    (Layout.MOODLE, re.compile(_MOODLE), "{who}_{id}", "{who}_{id}"),
    (Layout.BRIGHTSPACE, re.compile(_BRIGHTSPACE), "{id} {who}", "{who}_{id}"),
    # The title of the assignment is in it, because both may have `_`: `join` takes it off.
    (Layout.BLACKBOARD, re.compile(_BLACKBOARD), "{title}_{id}", "{id}"),
    (Layout.CANVAS, re.compile(_CANVAS), "{who}_{id}", "{who}_{id}"),
)
_MAX_NAME_CHARS = 500
_STUB = re.compile(
    r"^Name:[ \t]*(?P<name>.*?)[ \t]*\((?P<user>[^()\r\n]+)\)[ \t]*\r?$", re.MULTILINE
)
_DATE_WORDS = re.compile(r"(?P<year>\b\d{4}\b)|(?P<month>[^\W\d_]{3,})|(?P<number>\d{1,20})")
_MONTHS = (
    *("jan ene", "feb fév fev", "mar mär mrt", "apr avr abr", "may mai mei maj", "jun juin"),
    *("jul juil", "aug aoû ago", "sep set", "oct okt out", "nov", "dec déc dez dic"),
)
"""How names of months begin, in the languages of Western Europe."""
_GRADESCOPE_FOLDER = re.compile(r"submission_\d+")
# Long parts of Gradescope's list that tell nothing about owners, and would take minutes to parse.
_RESULTS = re.compile(
    r"^ {2}:?(?:results|history|autograder_results):[^\n]*\n(?:(?: {3}| {2}-|[ \t]*$)[^\n]*\n)*",
    re.MULTILINE,
)
_HOMEWORK = re.compile(
    r"(?:hw|homework|assignment|lab|project|ps|pset|problem[-_]?set|exercise)[-_ ]?\d*|a\d+",
    re.IGNORECASE,
)
_BRANCH = re.compile(r"-(?:main|master|[0-9a-f]{40})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a name in an export tells of a file or folder.

    Attributes:
        owner: tells the student from all others in the export.
        name: for the student's submission, before it is made safe and unique.
        attempt: as the course site writes it; `order` sorts attempts, the newest last.
        file: the file's name as the student gave it; empty for a folder.
        is_text: whether it holds what was typed into the course site, and no file.
    """

    layout: Layout
    owner: str
    name: str
    person: Person
    attempt: str = ""
    order: tuple[int, ...] = ()
    file: str = ""
    is_text: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A file or folder whose owner is known."""

    claim: Claim
    part: Attachment


def identify(name: str) -> tuple[Claim, ...]:
    """Return what a name in an export tells; empty if no course site makes such names."""
    for layout, pattern, owner, called in _NAMES if len(name) <= _MAX_NAME_CHARS else ():
        found = pattern.fullmatch(name)
        if found:
            told = {key: value or "" for key, value in found.groupdict().items()}
            file = told["file"]
            claim = Claim(
                layout=layout,
                owner=owner.format(**told),
                name=called.format(**told).rstrip("_"),
                person=Person(name=told.get("who", ""), number=told["id"]),
                attempt=told.get("date", ""),
                order=_order(told),
                file=_RESUBMISSION.sub("", file) if layout is Layout.CANVAS else file,
                is_text=bool(told.get("text")),
                late=bool(told.get("late")),
            )
            return (claim,)
    return ()


def _order(told: Mapping[str, str]) -> tuple[int, ...]:
    """Return numbers that sort a student's files by the time of hand-in, the newest last."""
    date = told.get("date", "")
    if re.fullmatch(r"[\d-]+", date):
        return tuple(int(number) for number in date.split("-"))
    return _date_order(date) if date else (int(told.get("order") or 0),)


def _date_order(date: str) -> tuple[int, ...]:
    """Return (year, month, day, hour, minute) of `Feb 3, 2026 1011 AM`, also with the day first."""
    year = month = 0
    numbers: list[int] = []
    for word in _DATE_WORDS.finditer(date):
        if word["month"]:
            name = unicodedata.normalize("NFC", word["month"].lower())
            fits = (n for n, m in enumerate(_MONTHS, start=1) if name.startswith(tuple(m.split())))
            month = next(fits, month)
        elif word["year"] and not year:
            year = int(word["year"])
        elif word["number"] or word["year"]:
            numbers.append(int(word[0]))
    day, *time = [*numbers, 0, 0][:3]
    hour, minute = time if len(numbers) > 2 else divmod(time[0], 100)
    if re.search(r"\b[AP]M\b", date, re.IGNORECASE):
        hour = hour % 12 + 12 * bool(re.search(r"\bPM\b", date, re.IGNORECASE))
    return (year, month, day, hour, minute)


def join(found: Iterable[Claimed], read: Callable[[Attachment], bytes]) -> list[SubmissionSource]:
    """Return one submission per owner, in the order in which they are met.

    Of several attempts the newest that has files is taken. A student who only typed text into the
    course site is one, too: the text is their submission. `read` returns the text of a small file.
    """
    owners: dict[tuple[Layout, str], list[Claimed]] = {}
    for one in found:
        owners.setdefault((one.claim.layout, one.claim.owner), []).append(one)
    users = _blackboard_users([owner for layout, owner in owners if layout is Layout.BLACKBOARD])
    joined: list[SubmissionSource] = []
    for (layout, owner), claimed in owners.items():
        if layout is Layout.BLACKBOARD:
            claimed = _named_by_stub(claimed, users[owner], read)
        joined.append(_newest(claimed))
    return joined


def _newest(claimed: Sequence[Claimed]) -> SubmissionSource:
    """Return the newest attempt of one owner; of files of one name in it the newest."""
    claimed = sorted(claimed, key=lambda one: (one.claim.order, one.claim.attempt))
    last = ([one for one in claimed if not one.claim.is_text] or claimed)[-1].claim
    parts: dict[str, Attachment] = {}
    for one in claimed:
        claim = one.claim
        if claim.is_text == last.is_text and claim.attempt == last.attempt:
            parts[claim.file] = replace(one.part, label=TYPED if claim.is_text else claim.file)
    attempts = dict.fromkeys(one.claim.attempt for one in claimed if one.claim.attempt)
    return SubmissionSource(
        name=last.name,
        parts=tuple(parts.values()),
        layout=last.layout,
        key=f"{last.layout.value}:{last.owner}",
        people=(last.person,),
        attempts=tuple(attempts),
        attempt=last.attempt,
        late=last.late,
    )


def _blackboard_users(owners: Sequence[str]) -> dict[str, str]:
    """Return user names by `<title>_<user>`: both may have `_`, and all have the same title."""
    title = _common_start(owners, "_") if len(owners) > 1 else ""
    return {one: one.removeprefix(title) if title else one.rpartition("_")[2] for one in owners}


def _common_start(names: Iterable[str], separator: str) -> str:
    """Return what all names start with, up to a separator."""
    columns = zip(*(name.split(separator)[:-1] for name in names), strict=False)
    equal = takewhile(lambda parts: len(set(parts)) == 1, columns)
    return "".join(f"{parts[0]}{separator}" for parts in equal)


def _named_by_stub(
    claimed: Sequence[Claimed], user: str, read: Callable[[Attachment], bytes]
) -> list[Claimed]:
    """Return one Blackboard user's files with the name that the text files tell."""
    person = Person(number=user)
    for one in claimed:
        if one.claim.is_text:
            found = _STUB.search(read(one.part).decode("utf-8-sig", "replace"))
            if found and one.claim.owner.endswith(f"_{found['user']}"):
                person = Person(name=found["name"], number=found["user"])
            elif found:
                person = replace(person, name=found["name"])
    return [
        replace(one, claim=replace(one.claim, person=person, name=person.number or user))
        for one in claimed
    ]


def is_gradescope_folder(name: str) -> bool:
    """Return whether a folder is one submission of a Gradescope export."""
    return _GRADESCOPE_FOLDER.fullmatch(name) is not None


def read_gradescope_list(content: bytes) -> dict[str, tuple[Person, ...]]:
    """Return the submitters by folder name; empty for a list that cannot be read."""
    import yaml  # a student's machine does without it

    loader: Any = type("_RubyLoader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor(  # mappings that Ruby marked with their class
        "!ruby/", lambda loader, _, node: loader.construct_mapping(node, deep=True)
    )
    try:
        text = _RESULTS.sub("", content.decode("utf-8-sig"))
        form = yaml.load(text, loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    entries = form.items() if isinstance(form, Mapping) else ()
    return {str(folder): tuple(_submitters(entry)) for folder, entry in entries}


def _submitters(entry: object) -> Iterable[Person]:
    people = _get(entry, "submitters")
    for one in people if isinstance(people, list) else ():
        name, email, number = (str(_get(one, key) or "") for key in ("name", "email", "sid"))
        if name or email:
            yield Person(name=name, email=email, number=number)


def _get(form: object, key: str) -> object:
    """Return what a mapping has under a key that Ruby may have written with a colon."""
    if not isinstance(form, Mapping):
        return None
    return form.get(key, form.get(f":{key}"))


def name_group(people: Sequence[Person], folder: str) -> str:
    """Return the name of a Gradescope submission: its submitters, or else its folder."""
    if len(people) == 1:
        (one,) = people
        return "_".join(filter(None, (one.name or one.email, one.number))) or folder
    return "_".join(one.name or one.email for one in people if one.name or one.email) or folder


def classroom_users(
    names: Sequence[str], *, slug: str, around: str, has_git: bool
) -> dict[str, str]:
    """Return the user names of GitHub Classroom by repository; empty if it is none.

    Args:
        names: of the repositories, `<assignment>-<user>`; downloads end in the branch, too.
        slug: the assignment's.
        around: name of the folder that they lie in, `<assignment>-submissions` if it was cloned.
        has_git: whether one of them has a `.git` folder.
    """
    plain = {name: _BRANCH.sub("", name) for name in names}
    assignment = around.removesuffix("-submissions")
    if assignment != around:
        prefix, is_sure = f"{assignment}-", True
    elif len(names) > 1:
        prefix, is_sure = _common_start(plain.values(), "-"), has_git
    else:
        prefix, is_sure = "".join(plain.values()).rpartition("-")[0] + "-", False
    users = {name: repository.removeprefix(prefix) for name, repository in plain.items()}
    if has_git or len(names) > 1:
        is_sure |= prefix[:-1].replace("-", "_") == slug or is_homework(prefix[:-1])
    fits = all(user and user != plain[name] for name, user in users.items())
    return users if is_sure and fits and len(set(users.values())) == len(users) else {}


def is_homework(name: str) -> bool:
    """Return whether a folder is named as homework usually is: `hw1`, `Assignment 2`."""
    return _HOMEWORK.fullmatch(name) is not None
