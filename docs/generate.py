"""Write the reference pages of the documentation from the code that they describe.

`python docs/generate.py` writes four pages: every command with its options, every key of
`assignment.toml`, every name in `grader.author`, what the cases of each assignment cover.
`tests/docs` fails when one of them is stale.
"""

import dataclasses
import enum
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from grader import author  # noqa: E402 - found through the line above
from grader.assignment import launcher, table, target  # noqa: E402
from grader.commands.app import COMMANDS, build_app  # noqa: E402

NOTICE = (
    "<!-- Made by `python docs/generate.py` from the code. Change the docstrings there, not this. "
    "-->\n"
)
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Source:")


def pages() -> dict[str, str]:
    """Return the text of every generated page by its path below `docs/`."""
    return {
        "commands.md": _tidy(_commands()),
        "authors/assignment_toml.md": _tidy(_assignment_toml()),
        "authors/author_words.md": _tidy(_author_words()),
        "design/cases.md": _tidy(_case_coverage()),
    }


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {path.relative_to(DOCS.parent)}")


def _tidy(lines: Iterator[str]) -> str:
    text = "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


# Commands ---------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield NOTICE
    yield "# Command reference\n"
    yield (
        "Every command prints its own help with `--help`. Exit codes: 0 if all went well; 1 if a "
        "check failed, or something could not be graded or made; 2 if the command itself was wrong "
        "(an option, a path, a name); 130 if you interrupted it.\n"
    )
    yield "| command | what it does | for |\n|---|---|---|"
    for name, (_, line) in COMMANDS.items():
        yield f"| [`grader {name}`](#grader-{name}) | {line} | {READERS[name]} |"
    for name in COMMANDS:
        group: Any = typer.main.get_command(build_app(name))
        yield from _command(f"grader {name}", group.commands[name])


READERS = {
    "list": "everybody",
    **dict.fromkeys(("init", "check", "pack", "remove"), "students"),
    **dict.fromkeys(("grade", "report"), "TAs"),
    **dict.fromkeys(("validate", "release", "new-assignment"), "authors"),
    "doctor": "TAs, administrators",
    **dict.fromkeys(("bench", "image"), "administrators"),
}


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"\n## {name}\n"
    yield f"{_plain(command.help or '')}\n"
    for inner, one in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {inner}", one)
    if hasattr(command, "commands"):
        return
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    yield f"```text\n{_usage(name, shown)}\n```\n"
    yield "| argument or option | meaning | default |\n|---|---|---|"
    for parameter in shown:
        yield _parameter(parameter)


def _usage(name: str, parameters: list[Any]) -> str:
    words = [name, "[OPTIONS]"]
    for one in parameters:
        if one.param_type_name == "argument":
            word = _argument_name(one)
            words.append(f"{word}..." if one.nargs == -1 else word)
        elif one.required:
            words.append(f"{one.opts[0]} {_value_name(one)}")
    return " ".join(words)


def _argument_name(parameter: Any) -> str:
    word = str(parameter.metavar or parameter.name.upper()).strip("[]")
    return word if parameter.required else f"[{word}]"


def _value_name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_argument_name(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {_value_name(parameter)}"
        opts = ", ".join((*parameter.opts, *parameter.secondary_opts))
        name = f"`{opts}{value}`"
    variable = f" Also set by `{parameter.envvar}`." if parameter.envvar else ""
    text = _cell(f"{parameter.help or ''}{variable}")
    return f"| {name} | {text} | {_cell(_default(parameter))} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):  # the value depends on the machine
        return str(parameter.show_default)
    value = parameter.default
    if value is None or value == "" or value is False or callable(value):
        return ""
    return f"`{value.value if isinstance(value, enum.Enum) else value}`"


# assignment.toml --------------------------------------------------------------------------------


def _assignment_toml() -> Iterator[str]:
    yield NOTICE
    yield "# Every key of assignment.toml\n"
    yield (
        "An unknown key, a missing key or a value of the wrong type is an error that names line "
        "and key. Keys without a default are required. The [tutorial](tutorial.md) shows the file "
        "in use.\n"
    )
    yield from _table_of("Top of the file", table.Assignment, "_AssignmentFile")
    yield from _table_of("[limits]", table.Limits)
    yield from _table_of("[[problem]]", table.Problem, "_ProblemTable")
    yield from _table_of("[[problem.check]]", table.Check, "_CheckTable")
    yield from _table_of("[[problem.target]]", target.Target)
    yield from _table_of("[problem.target.tiers.DEVICE]", target.Tier)
    classes = ", ".join(f"`{name}`" for name in target.CLASSES)
    yield f"\n`DEVICE` is one of {classes}. The most specific class that fits a device decides.\n"
    yield "\n## [[problem.launcher]]\n"
    yield _body(launcher.__doc__ or "", keep_all=True)
    names = ", ".join(f"`{name}`" for name in sorted(launcher.DTYPE_NAMES))
    yield f"\nDtypes in tolerances and outputs: {names}.\n"
    yield "\n## Values\n"
    kinds = (target.Quantity, target.Clock, target.NoDevice, target.CheckKind)
    for kind in (*kinds, table.Evidence, table.Language):
        yield from _enumeration(kind)


SAYS_ITSELF = {
    "check": "One `[[problem.check]]` table for each criterion of correctness.",
    "target": "One `[[problem.target]]` table for each criterion of performance.",
    "launcher": "One `[[problem.launcher]]` table for each export, if CUDA C++ is accepted.",
    "problem": "One `[[problem]]` table for each thing to build.",
    "denied": "What is denied in every problem, in addition to what a problem denies itself.",
}
"""Keys whose names in the file differ from those in the tree, or that stand at the top only."""


def _table_of(title: str, told_by: Any, read_into: str = "") -> Iterator[str]:
    """Describe a table of the file.

    Args:
        title: its header in the file.
        told_by: the dataclass whose docstring explains the keys.
        read_into: name of another dataclass in `assignment.table` that has the keys as the file
            spells them, if there is one.
    """
    shape = getattr(table, read_into, told_by) if read_into else told_by
    told = _attributes(told_by.__doc__ or "")
    yield f"\n## {title}\n"
    yield f"{_body(told_by.__doc__ or '')}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    hints = typing.get_type_hints(shape)
    for field in dataclasses.fields(shape):
        meaning = told.get(field.name) or SAYS_ITSELF[field.name]
        kind = _cell(_type_name(hints[field.name]))
        yield f"| `{field.name}` | {kind} | {_field_default(field)} | {_cell(meaning)} |"


def _field_default(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "as below" if field.name == "limits" else "none"
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{[one.value if isinstance(one, enum.Enum) else one for one in value]}`"
    return f"`{value.value if isinstance(value, enum.Enum) else value}`"


NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}


def _type_name(hint: Any) -> str:
    if hint in NAMES:
        return NAMES[hint]
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"list of {_type_name(inside[0])}"
    if origin is dict:
        return f"table of {_type_name(inside[1])}"
    if origin in (types.UnionType, typing.Union):
        return _type_name(next(one for one in inside if one is not type(None)))
    if issubclass(hint, enum.Enum):
        return " or ".join(f"`{one.value}`" for one in hint)
    return "table"


def _enumeration(kind: type[enum.Enum]) -> Iterator[str]:
    yield f"\n### {kind.__name__}\n"
    yield f"{_first_paragraph(kind.__doc__ or '')}\n"
    text = inspect.getdoc(kind) or ""
    told = dict(re.findall(r"^([A-Z_]+): (.*(?:\n    .*)*)", text, re.MULTILINE))
    for member in kind:
        meaning = f": {_cell(told[member.name])}" if member.name in told else ""
        yield f"* `{member.value}`{meaning}"


# grader.author ----------------------------------------------------------------------------------


GROUPS = {
    "mark a function in `cases.py`": ("case", "sequence_case", "workload"),
    "steps": ("Call", "New", "Drop", "Raises", "Expect", "OverwriteArguments"),
    "a check of statistics": ("Beyond",),
    "steps of workloads only": ("ReclaimArguments", "PhaseStart", "PhaseEnd", "Work"),
    "steps for several ranks": ("World", "Each", "On"),
    "random inputs": ("Draw", "PUBLIC_SEED"),
    "what a case varies": ("Factors", "Excluded", "Row"),
    "sequences of random operations": ("Sequence", "Operation"),
    "type annotations": ("CaseSteps", "WorkloadSteps", "PlaySteps", "Step", "Ref", "Value"),
    "what the three marks return": ("CaseMaker", "RowMaker", "SequenceMaker", "Workload"),
    "import a reference by hand": ("load_cases", "load_folder"),
}
PLAIN_NAMES = {
    "PUBLIC_SEED": "The seed of public cases; students may know it.",
    "CaseSteps": "What a function marked with `case` returns.",
    "WorkloadSteps": "What a function marked with `workload` returns.",
    "PlaySteps": "What the `play` function of a sequence returns: steps, and a line before each.",
    "Step": "Any step of a case.",
    "Value": "Any value that can be sent or returned: tensors, numbers, text, lists, ...",
}
"""Names that cannot have a docstring."""


def _anchor(name: str) -> str:
    """Return the anchor of a name's heading; the second of two alike gets a number."""
    alike = [one for one in author.__all__ if one.lower() == name.lower()]
    return name.lower() + (f"_{alike.index(name)}" if alike.index(name) else "")


def _author_words() -> Iterator[str]:
    yield NOTICE
    yield "# Every name in grader.author\n"
    yield (
        "`reference/<slug>/cases.py` imports from `grader.author`. A case is a generator: it "
        "yields one step, is sent the reply to it, and chooses the next step. The "
        "[tutorial](tutorial.md) shows the words in use.\n"
    )
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(author.__all__):
        raise ValueError("docs/generate.py: GROUPS must hold each name of grader.author once")
    yield "| for | names |\n|---|---|"
    for purpose, names in GROUPS.items():
        links = ", ".join(f"[`{name}`](#{_anchor(name)})" for name in names)
        yield f"| {purpose} | {links} |"
    for name in author.__all__:
        yield f"\n## {name}\n"
        yield from _word(name, getattr(author, name))


def _word(name: str, thing: Any) -> Iterator[str]:
    if name in PLAIN_NAMES:
        kind = "value" if isinstance(thing, str) else "type"
        yield f"{PLAIN_NAMES[name]} A {kind}: `{_shown(thing)}`.\n"
    else:
        yield f"```python\n{_signature(name, thing)}\n```\n"
        doc = inspect.getdoc(thing) or ""
        yield f"{_body(doc)}\n"
        bases = thing.__mro__[::-1] if inspect.isclass(thing) else (thing,)
        docs = [one.__doc__ or "" for one in bases if one.__module__.startswith("grader.")]
        told = {
            k: v for one in docs for k, v in (_attributes(one) | _attributes(one, "Args:")).items()
        }
        for word, meaning in told.items():
            yield f"* `{word}`: {_cell(meaning)}"
        if inspect.isclass(thing) and thing is author.Draw:
            yield from _methods(thing)


def _shown(thing: Any) -> str:
    text = repr(thing)
    return re.sub(r"(?:grader|typing|collections)\.(?:[a-z_]+\.)*", "", text)


def _methods(thing: type) -> Iterator[str]:
    for name, method in inspect.getmembers(thing, inspect.isfunction):
        if not name.startswith("_"):
            yield f"\n### {thing.__name__}.{name}\n"
            yield f"```python\n{_signature(name, method)}\n```\n"
            yield f"{_body(inspect.getdoc(method) or '')}\n"


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    text = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    text = re.sub(r"grader\.(?:[a-z_]+\.)+|collections\.abc\.|typing\.|<factory>", "", text)
    text = (
        re.sub(r"'([^']*)'", lambda quoted: quoted[1] or "''", text)
        .replace("~", "")
        .replace("Callable[[], Any]", "Oracle")
    )
    for alias in ("CaseSteps", "WorkloadSteps", "PlaySteps"):
        text = text.replace(_shown(getattr(author, alias)), alias)
    return name + text


# Docstrings -------------------------------------------------------------------------------------


def _body(doc: str, *, keep_all: bool = False) -> str:
    """Return a docstring without its sections; without its module lines unless `keep_all`."""
    text = inspect.cleandoc(doc)
    for section in SECTIONS:
        text = re.split(rf"^{section}", text, maxsplit=1, flags=re.MULTILINE)[0]
    if keep_all:
        text = re.sub(r"^Takes: .*?(?=\n\n|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
        return text.strip()
    return text.strip()


def _first_paragraph(doc: str) -> str:
    return inspect.cleandoc(doc).split("\n\n")[0]


def _attributes(doc: str, section: str = "Attributes:") -> dict[str, str]:
    """Return the entries of a Google-style section by name."""
    found = re.split(rf"^{section}\n", inspect.cleandoc(doc), maxsplit=1, flags=re.MULTILINE)
    if len(found) < 2:
        return {}
    body = re.split(r"^\S", found[1], maxsplit=1, flags=re.MULTILINE)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", body, re.MULTILINE)
    return {name: _plain(text) for name, text in entries}


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


# What the cases cover ---------------------------------------------------------------------------

COVERAGE = DOCS.parent / "benchmarks" / "results" / "case_coverage.json"
COVERAGE_NOTICE = "<!-- Made by `python docs/generate.py` from the file that it names. -->\n"


def _case_coverage() -> Iterator[str]:
    found = json.loads(COVERAGE.read_text(encoding="utf-8"))
    machine, assignments = found["machine"], found["assignments"]
    versions = f"torch {machine['versions']['torch']}, Triton {machine['versions']['triton']}"
    yield COVERAGE_NOTICE
    yield "# What the cases cover\n"
    yield (
        "A wrong submission keeps its points where no case asks. Four counts say what is asked: "
        "[factors](../authors/factors.md) and the pairs of their levels, sentences that students "
        "read, known submissions, and mutants of the right ones. `grader validate` and `grader "
        "validate --mutate` count them and complain of each gap. The counts below are from "
        f"{machine['date'][:10]} ({machine['hardware']}, {machine['cores']} cores, {versions}); "
        "they stand in `benchmarks/results/case_coverage.json`.\n"
    )
    yield "## Factors\n"
    yield (
        "Pairs count combinations of two levels that some allowed call has, triples those of three "
        "in problems with at most eight factors. Covered means that hidden cases play them, "
        "whatever the seed.\n"
    )
    yield "| assignment | problems | factors | rows | pairs covered | triples covered |"
    yield "|---|---|---|---|---|---|"
    for slug, one in assignments.items():
        counts = (one["problems"], one["factors"], one["rows"])
        parts = *map(str, counts), _share(one["pairs"]), _share(one["triples"])
        yield f"| `{slug}` | {' | '.join(parts)} |"
    yield "\n## Promises and known submissions\n"
    yield (
        "A promise is a sentence of starter or handout, or a part of one. Each is asked by a check "
        "and broken by a known-wrong submission, or the handout says that it is not graded.\n"
    )
    yield "| assignment | sentences | promises asked | not graded | checks | wrong | right |"
    yield "|---|---|---|---|---|---|---|"
    for slug, one in assignments.items():
        promises, known = one["promises"], one["known"]
        asked = one["sentences"], promises["asked"], promises["not_graded"]
        counts = *asked, one["checks"], known["wrong"], known["right"]
        yield f"| `{slug}` | {' | '.join(map(str, counts))} |"
    yield "\n## Mutants\n"
    yield (
        "One change in a right submission, of the kinds that this field makes. An equivalent one "
        "changes nothing that a caller could observe; `equivalent.toml` says why. One in eight "
        "mutants of right answers beside the solution is played.\n"
    )
    yield "| assignment | made | played | killed | equivalent | unexplained | seconds |"
    yield "|---|---|---|---|---|---|---|"
    for slug, one in assignments.items():
        if not one["mutants"]:
            yield f"| `{slug}` | not played yet ||||||"
            continue
        names = ("made", "played", "killed", "equivalent", "open", "wall_s")
        counts = [f"{one['mutants'][name]:,}" for name in names]
        yield f"| `{slug}` | {' | '.join(counts)} |"


def _share(counted: dict[str, int]) -> str:
    if not counted["allowed"]:
        return ""
    return f"{counted['covered']:,} of {counted['allowed']:,}"


if __name__ == "__main__":
    main()
