"""Writes a recorded public case as Python: the calls, their arguments and what is expected.

Takes the JSON of a recording (see `student.trace`) and gives text; needs no torch and no worker.
Small values stand in the text in full. Larger ones are `c.arguments[call][position]` of the case
`c`, with dtype, shape and strides beside them. What `c` can do is in `student.live_case`.
"""

import ast
import itertools
import keyword
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from grader.assignment.expression_text import (
    WIDTH,
    Group,
    Leaf,
    Node,
    describe_tensor,
    flat_text,
    lay_out,
    notes_in,
    with_suffix,
    write_number,
    write_tensor,
)

Json = Any  # what json.loads returns

MAX_POINTERS = 8
"""Most larger tensors of one argument that are written one by one."""
MAX_CHARACTERS = 400
"""Longest text of one argument."""
MAX_NOTE = 60

_HARNESS = "harness:"
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_REQUESTS = frozenset({"new", "call", "each", "on", "raises"})


def write_case_code(
    steps: Sequence[Json], opening: str, attributes: frozenset[str], *, module: str
) -> str:
    """Return the code of a case, or of its first steps.

    Args:
        steps: the JSON of the steps.
        opening: the expression that gives the case.
        attributes: names that are read and not called.
        module: the student's module, to import from; empty if the names are there already.
    """
    writer = _Writer(steps=steps, attributes=attributes)
    writer.write()
    body = "\n".join(writer.lines)
    # The case comes first: it prepares the machine for kernels before a module with some loads.
    head = ["import torch"] if "torch." in body else []
    head += ["from grader.student import case", "", f"c = {opening}"]
    if writer.harness:
        head.append(f"from harness import {', '.join(sorted(writer.harness))}")
    if writer.own and module:
        head.append(f"from {module} import {', '.join(sorted(writer.own))}")
    return "\n".join([*head, "", body]) + "\n"


def attribute_names(sources: Iterable[str]) -> frozenset[str]:
    """Return the names that classes in these sources have as attributes or properties."""
    read: set[str] = set()
    called: set[str] = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        match node:
            case ast.FunctionDef():
                is_property = any(ast.unparse(one) == "property" for one in node.decorator_list)
                (read if is_property else called).add(node.name)
            case ast.Attribute(ctx=ast.Store()):
                read.add(node.attr)
            case ast.AnnAssign(target=ast.Name(id=name)):
                read.add(name)
    return frozenset(read - called)


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Writes one step after the other.

    Attributes:
        own: names that the code needs of the student's module; `harness`: of the harness.
        objects: names of variables, by the number of the object.
        replies: expressions for replies, by the number of the step.
        open: requests that are written where their reply is expected, by the number of the step.
        requests: how many there were so far; `made` and `compared`: objects and expectations.
        world: number of the step that started the world whose program is written; -1 outside.
        pointers_only: whether arguments must be the case's own tensors, to be overwritten later.
    """

    steps: Sequence[Json]
    attributes: frozenset[str]
    lines: list[str] = field(default_factory=list)
    own: set[str] = field(default_factory=set)
    harness: set[str] = field(default_factory=set)
    objects: dict[int, str] = field(default_factory=dict)
    replies: dict[int, str] = field(default_factory=dict)
    open: dict[int, Node] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: {"c", "case", "torch", "rank", "program"})
    requests: int = 0
    made: int = 0
    compared: int = 0
    world: int = -1
    pointers_only: bool = False

    def write(self) -> None:
        """Write all steps."""
        self.taken |= {name.removeprefix(_HARNESS) for name in _functions(self.steps)}
        at = 0
        while at < len(self.steps):
            if self.steps[at]["op"] == "world":
                at = self._write_world(at)
            else:
                self._write_step(at)
                at += 1

    def _write_world(self, start: int) -> int:
        """Write what every rank of a world does, then what is expected; return the next step."""
        end = self._end_of_world(start)
        first_line, self.world = len(self.lines), start
        for at in range(start + 1, end):
            if self.steps[at]["op"] != "expect":
                self._write_step(at)
        self.world = -1
        program = [f"    {line}" for line in self.lines[first_line:]] or ["    pass"]
        given = [at for at in range(start, end) if at in self.replies]
        call = f"c.on_ranks(program, {self.steps[start]['size']})"
        if given:
            program.append(f"    return [{', '.join(self.replies[at] for at in given)}]")
            for at in given:
                self.replies[at] = self.replies[at].removesuffix(".text")
            call = f"[{', '.join(self.replies[at] for at in given)}] = {call}"
        apart = ["", ""] if first_line else [""]
        for at in (at for at in given if self.steps[at]["op"] == "on"):
            self.replies[at] += f"[{self.steps[at]['rank']}]"
        self.lines[first_line:] = [*apart, "def program(rank):", *program, "", "", call]
        for at in range(start, end):
            if self.steps[at]["op"] == "expect":
                self._write_step(at)
        return end

    def _end_of_world(self, start: int) -> int:
        later = range(start + 1, len(self.steps))
        return next((at for at in later if self.steps[at]["op"] == "world"), len(self.steps))

    def _write_step(self, at: int) -> None:
        step = self.steps[at]
        match step["op"]:
            case "expect":
                self._write_expectation(step)
            case "overwrite_arguments":
                self.lines.append(f"c.overwrite({self.requests - 1})  # the buffers of that call")
            case "drop":
                self.lines.append(f"del {self.objects[step['ref']['r']]}")
            case "raises":
                error = self._name("error") if self._uses(at) else ""
                named = f" as {error}" if error else ""
                self._put(Leaf(f"with c.raises({step['error']}){named}:", _clean(step["label"])))
                self._put(self._ask(at, step["step"])[0], "    ")
                if error:
                    self.replies[at] = f"{error}.text"
            case _:
                self._write_request(at, step)

    def _write_request(self, at: int, step: Json) -> None:
        node, variable = self._ask(at, step)
        uses, on_one = self._uses(at), f"rank == {step.get('rank')}" if step["op"] == "on" else ""
        if not variable and not uses:
            self._put(node, f"if {on_one}: " if on_one else "")
            return
        after = self.steps[at + 1 : at + 2] if uses == [at + 1] and self.world < 0 else []
        if any(one["op"] == "expect" and one["got"]["p"][0] == at for one in after):
            self.open[at] = node
            return
        if not variable:
            variable = self.replies[at] = self._name("reply")
            last = self._end_of_world(self.world) if self.world >= 0 else max(uses)
            if any(self.steps[i]["op"] in _REQUESTS for i in range(at + 1, last)):
                node = Group("c.copy(", (("", node),), ")")
        self._put(node, f"{variable} = ", f" if {on_one} else None" if on_one else "")

    def _write_expectation(self, step: Json) -> None:
        step_number, *path = step["got"]["p"]
        keys = "".join(f"[{key!r}]" for key in path)
        node = self.open.pop(step_number, None)
        got = Leaf(self.replies[step_number] + keys) if node is None else with_suffix(node, keys)
        items: list[tuple[str, Node]] = [("", got)]
        if list(_leaves(step["want"], "p")):
            items.append(("", self._value(step["want"], f"c.expected[{self.compared}]")))
        note = f"{_clean(step['label'])}: {_describe(step['want'])}"
        self._put(Group(f"c.compare({self.compared}, ", tuple(items), ")"), note=note)
        self.compared += 1

    def _ask(self, at: int, step: Json) -> tuple[Node, str]:
        """Return the code of a request, and a variable for the object that it makes, if any."""
        following = itertools.takewhile(
            lambda one: one["op"] not in _REQUESTS, self.steps[at + 1 :]
        )
        self.pointers_only = any(one["op"] == "overwrite_arguments" for one in following)
        base = f"c.arguments[{self.requests}]"
        self.requests += 1
        asked = step["steps"] if step["op"] == "each" else [step.get("step", step)]
        if len(asked) > 1:
            base += "[rank]"
        variable = ""
        if asked[0]["op"] == "new":
            if self.steps[at]["op"] != "raises":
                variable = self.objects[self.made] = self._name(_variable(asked[0]["class"]))
            self.made += 1
        if len({_form(one) for one in asked}) > 1:
            calls = (("lambda: ", self._call([one], base)) for one in asked)
            return Group("[", tuple(calls), "][rank]()"), variable
        return self._call(asked, base), variable

    def _call(self, asked: Sequence[Json], base: str) -> Node:
        """Return one call, whose arguments may depend on the rank."""
        first = asked[0]
        items = [
            ("", self._by_rank([one["args"][k] for one in asked], f"{base}[{k}]"))
            for k in range(len(first["args"]))
        ]
        items += [
            (f"{key}=", self._by_rank([one["kwargs"][key] for one in asked], f"{base}[{key!r}]"))
            for key in first["kwargs"]
        ]
        method = first.get("method")
        if method:
            target = f"{self.objects[first['target']['r']]}.{method}"
            if not items and method in self.attributes:
                return Leaf(target)
        else:
            target = self._import(first["class"] if first["op"] == "new" else first["target"])
        return Group(f"{target}(", tuple(items), ")")

    def _by_rank(self, values: Sequence[Json], pointer: str) -> Node:
        nodes = [self._value(value, pointer) for value in values]
        if all(repr(value) == repr(values[0]) for value in values):  # NaN equals itself here
            return nodes[0]
        notes = [note for node in nodes for note in notes_in(node)]
        group = Group("[", tuple(("", node) for node in nodes), "][rank]")
        if any(_has_names(value) for value in values) or not (
            notes or len(flat_text(group)) > WIDTH
        ):
            return group
        return Leaf(pointer, f"{_describe(values[0])} on rank 0")

    def _value(self, tree: Json, pointer: str) -> Node:
        """Return the code of an argument; `pointer` is where the case has it."""
        node = self._literal(tree, pointer)
        too_long = len(notes_in(node)) > MAX_POINTERS or len(flat_text(node)) > MAX_CHARACTERS
        return Leaf(pointer, _describe(tree)) if too_long and not _has_names(tree) else node

    def _literal(self, tree: Json, pointer: str) -> Node:
        match tree:
            case {"t": content}:
                text = "" if self.pointers_only else write_tensor(content)
                return Leaf(text) if text else Leaf(pointer, describe_tensor(content))
            case {"l": items} | {"u": items}:
                nodes = [("", self._value(item, f"{pointer}[{i}]")) for i, item in enumerate(items)]
                closing = "]" if "l" in tree else ",)" if len(items) == 1 else ")"
                return Group("[" if "l" in tree else "(", tuple(nodes), closing)
            case {"d": pairs}:
                entries = (
                    (f"{key!r}: ", self._value(value, f"{pointer}[{key!r}]"))
                    for key, value in pairs
                )
                return Group("{", tuple(entries), "}")
            case {"r": number}:
                return Leaf(self.objects[number])
            case {"p": [step, *path]}:
                return Leaf(self._reply(step, path))
            case {"y": name}:
                return Leaf(f"torch.{name}")
            case float():
                return Leaf(write_number(tree))
            case _:
                return Leaf(repr(tree))

    def _reply(self, step: int, path: Sequence[int | str]) -> str:
        name = self.replies[step]
        if 0 <= self.world < step and self.steps[step]["op"] == "each":
            name = f"c.gather({name})"  # a rank has only its own reply
        return name + "".join(f"[{key!r}]" for key in path)

    def _uses(self, at: int) -> list[int]:
        """Return the steps that use the reply to a step, one as often as it does."""
        later = range(at + 1, len(self.steps))
        return [i for i in later for path in _leaves(self.steps[i], "p") if path[0] == at]

    def _import(self, name: str) -> str:
        plain = name.removeprefix(_HARNESS)
        (self.own if plain == name else self.harness).add(plain)
        return plain

    def _name(self, stem: str) -> str:
        """Return a name for a variable that nothing has yet."""
        for number in itertools.count(1):
            name = stem if number == 1 and stem not in ("reply", "error") else f"{stem}_{number}"
            if name not in self.taken and not keyword.iskeyword(name):
                self.taken.add(name)
                return name
        raise AssertionError

    def _put(self, node: Node, before: str = "", after: str = "", note: str = "") -> None:
        self.lines += lay_out(node, before, after, note)


def _leaves(tree: Json, key: str) -> Iterator[Json]:
    """Yield the content of every leaf of one kind in a step or value."""
    match tree:
        case {"op": _, **fields}:
            for name, value in fields.items():
                content: Json = value
                for item in content.values() if name == "kwargs" else [content]:
                    yield from _leaves(item, key)
        case {"t": _}:
            pass
        case {**entries}:
            for name, inner in entries.items():
                if name == key:
                    yield inner
                else:
                    yield from _leaves(inner, key)
        case [*items]:
            for item in items:
                yield from _leaves(item, key)


def _functions(tree: Json) -> Iterator[str]:
    """Yield the names of all functions and classes that steps use."""
    match tree:
        case {"op": "new", "class": name} | {"op": "call", "target": str(name)}:
            yield name
        case {"step": step}:
            yield from _functions(step)
        case {"steps": steps}:
            yield from _functions(steps)
        case [*steps]:
            for step in steps:
                yield from _functions(step)


def _has_names(tree: Json) -> bool:
    """Return whether a value holds an object or a reply, which only the code can name."""
    return any(True for key in ("r", "p") for _ in _leaves(tree, key))


def _form(step: Json) -> tuple[str, ...]:
    target = str(step.get("class") or step["target"])
    return (target, step.get("method", ""), str(len(step["args"])), *step["kwargs"])


def _variable(name: str) -> str:
    """Return the last word of the name of a class, such as `cache` of `KVCache`."""
    words = [word for word in _WORDS.findall(name.removeprefix(_HARNESS)) if len(word) > 2]
    return str(words[-1]).lower() if words else "made"


def _describe(tree: Json) -> str:
    match tree:
        case {"t": content}:
            return describe_tensor(content)
        case {"l": items} | {"u": items} if items and len(str(tree)) > MAX_NOTE:
            return f"{'list' if 'l' in tree else 'tuple'} of {len(items)}: {_describe(items[0])}, …"
        case {"l": items}:
            return f"[{', '.join(map(_describe, items))}]"
        case {"u": items}:
            return f"({', '.join(map(_describe, items))})"
        case {"d": pairs}:
            return f"a dict of {len(pairs)}"
        case {"p": _}:
            return "equal to the other"
        case {"y": name}:
            return f"torch.{name}"
        case float():
            return write_number(tree)
        case _:
            text = repr(tree)
            return text if len(text) <= MAX_NOTE else f"{text[:MAX_NOTE]}…"


def _clean(label: str) -> str:
    return " ".join(label.split())
