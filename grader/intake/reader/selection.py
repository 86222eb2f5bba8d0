"""Which statements of a submission are graded: one rule for notebooks and modules.

`Selection(parts, exports=..., allowed=..., own=...)` looks at all statements together; then
`decide(part)` answers for each, in order. It is pure: neither files nor modules are looked at.

* What a problem's names (`exports`) use, directly or through others, is needed. If they are not
  known, all functions, classes and constants count as if they were such names.
* A notebook without tags gives what is needed, and all its functions, classes and imports.
* Cells without a tag, beside cells tagged `export`, give what those use, and nothing else.
* An import outside `allowed` goes if nothing that is needed uses it, with the statements that use
  it. If something does, it stays, and fails: it is in `absent`. See `scope.is_outside`.
"""

import ast
import builtins
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .scope import (
    MODULE_NAMES,
    Names,
    Scope,
    imported_module,
    is_outside,
    is_star,
    is_type_checking,
    script_names,
)

_BUILTINS = frozenset(dir(builtins)) | MODULE_NAMES
ONLY_IN_NOTEBOOKS = frozenset({"display", "get_ipython"})
_CALLABLE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DEFINING = (*_CALLABLE, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Try)


class Zone(Enum):
    """What the place of a statement says about it."""

    GRADED = "in a cell tagged `export`, or in a module: it stays as it is"
    CHOSEN = "in a notebook without such cells: it stays if it defines something"
    OPEN = "in a cell without a tag beside such cells: it stays if they need it"
    CLOSED = "in a cell tagged `scratch`, or in one of the course's own tests"


class Fate(Enum):
    """What becomes of a statement."""

    KEPT = "kept"
    TAKEN = "kept because graded code uses it"
    UNUSED = "no graded code uses it"
    EFFECT = "it defines nothing"
    IMPORT = "an import outside the list, which nothing needs"
    NEEDS = "it needs a name that is not there"
    LOST = "it needs a name that broken code would define"
    SILENT = "nobody misses it"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One statement at top level."""

    node: ast.stmt
    names: Names
    zone: Zone
    place: str

    @property
    def title(self) -> str:
        """The first name that it binds, for a message."""
        if isinstance(self.node, _CALLABLE):
            return self.node.name
        return min(self.names.binds, default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a statement.

    Attributes:
        replacement: text of the part of it that stays; empty if it stays or goes as a whole.
        names: modules of a dropped import, or names that it needs and does not get.
    """

    fate: Fate
    replacement: str = ""
    names: tuple[str, ...] = ()


_KEPT = Decision(fate=Fate.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentImport:
    """An import outside the list that graded code uses: it will fail."""

    part: Part
    name: str
    module: str
    user: str


class Selection:
    """The statements of one module, and what is needed of them.

    Attributes:
        needed: what the problems' names use, directly or through others.
        taken: statements of cells without a tag that graded cells use.
        absent: imports outside the list that are needed.
        relevant: names that are needed, whether anything defines them or not.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        exports: Collection[str] = (),
        allowed: Collection[str] = (),
        own: Collection[str] = (),
        broken: Mapping[str, Zone] | None = None,
        lazy_annotations: bool = False,
    ) -> None:
        self._parts = [part for part in parts if part.zone is not Zone.CLOSED]
        self._closed = [part for part in parts if part.zone is Zone.CLOSED]
        self._definers: dict[str, list[Part]] = {}
        broken = broken or {}
        self._index({name for name, zone in broken.items() if zone is Zone.GRADED})
        exported = [part for name in exports for part in self._definers.get(name, ())]
        kept = [p for p in self._parts if p.zone in (Zone.GRADED, Zone.CHOSEN)]
        self.needed = self._close(exported or [part for part in kept if _is_plain(part.node)])
        graded = [p for p in kept if p.zone is Zone.GRADED and isinstance(p.node, _DEFINING)]
        self.taken = {p for p in self._close([*exported, *graded]) if p.zone is Zone.OPEN}
        self.relevant = set(exports).union(*(p.names.uses for p in self.needed | self.taken))
        self.absent: list[AbsentImport] = []
        self._dropped: dict[Part, list[ast.alias]] = {}
        self._inert: set[str] = set()
        self._sort_imports(allowed, own)
        self._gone = self._names_gone()
        self._useless = self._spread(self._gone)
        beside = [p for p in self._parts if p.zone is Zone.OPEN and p not in self.taken]
        self._left = {name for p in [*beside, *self._closed] for name in p.names.binds} - {
            name for p in self._parts if p not in beside for name in p.names.binds
        }
        self._scope = Scope(lazy_annotations=lazy_annotations)
        self._lost = set(broken) - set(self._definers)

    def _index(self, broken: Collection[str]) -> None:
        """Note which statements make each name what it is; graded cells hide those beside them."""
        fixed = set(broken).union(*(p.names.binds for p in self._parts if p.zone is Zone.GRADED))
        no_objects = (*_CALLABLE, ast.Import, ast.ImportFrom)
        objects: set[str] = set()
        for part in self._parts:
            if not isinstance(part.node, no_objects):
                objects |= part.names.binds
        bound = set[str]().union(*(part.names.binds for part in self._parts))
        makers = {part.title: part.names.makes - bound for part in self._parts if part.names.makes}
        for part in self._parts:
            binds = part.names.binds - fixed if part.zone is Zone.OPEN else part.names.binds
            made = set[str]().union(*(makers.get(name, ()) for name in part.names.now))
            for name in binds | made | part.names.changes | part.names.calls & objects:
                self._definers.setdefault(name, []).append(part)
        self._stars = [part for part in self._parts if is_star(part.node)]

    def _close(self, roots: Iterable[Part]) -> set[Part]:
        """Return statements and all that they use, directly or through others."""
        found: set[Part] = set()
        waiting = list(roots)
        while waiting:
            part = waiting.pop()
            if part in found:
                continue
            found.add(part)
            for name in part.names.uses:
                unknown = self._stars if name not in _BUILTINS else []
                waiting += self._definers.get(name, unknown)
        return found

    def _sort_imports(self, allowed: Collection[str], own: Collection[str]) -> None:
        for part in self._parts:
            node = part.node
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for alias in node.names:
                module = imported_module(node, alias)
                if not module or not (module in own or is_outside(module, allowed)):
                    continue
                name = alias.asname or alias.name.partition(".")[0]
                user = self._user_of(name, part)
                of_itself = module in own and isinstance(node, ast.ImportFrom)
                if of_itself and name in self.relevant and self._definers.get(name) == [part]:
                    self.absent.append(AbsentImport(part=part, name=name, module=module, user=user))
                if not user or of_itself:
                    self._dropped.setdefault(part, []).append(alias)
                    self._inert |= {name} if module.partition(".")[0] == "grader" else set()
                elif module not in own:
                    self.absent.append(AbsentImport(part=part, name=name, module=module, user=user))

    def _user_of(self, name: str, importer: Part) -> str:
        """Return what needs an imported name (`*`: any name that nothing defines)."""
        for part in self._parts:
            if part not in self.needed or part is importer:
                continue
            unknown = part.names.uses - self._definers.keys() - _BUILTINS
            if name in part.names.uses or (name == "*" and unknown):
                return part.title or "a graded statement"
        return ""

    def _names_gone(self) -> set[str]:
        """Return the names that only imports bind which go, and those that only notebooks have."""
        gone = set(ONLY_IN_NOTEBOOKS)
        left = {"*"}
        for part in self._parts:
            aliases = self._dropped.get(part, [])
            names = {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            gone |= names
            left |= part.names.binds - names
        return gone - left

    def _spread(self, gone: set[str]) -> set[str]:
        """Return `gone`, and what is not needed and cannot work without it: functions that plot."""
        useless = set(gone)
        needed = {name for part in self.needed for name in part.names.binds}
        others = [part for part in self._parts if part not in self.needed]
        while True:
            soiled = [part for part in others if part.names.uses & useless]
            more = {name for part in soiled for name in part.names.binds} - needed - useless
            if not more:
                return useless
            useless |= more

    @property
    def known(self) -> set[str]:
        """The names that the module has so far."""
        return self._scope.known

    def decide(self, part: Part) -> Decision:
        """Return what becomes of a statement; asked for each, in their order."""
        decision = self._decide(part)
        if decision.fate in (Fate.KEPT, Fate.TAKEN):
            self._scope.bind(part.node)
        elif decision.fate is Fate.LOST or (decision.fate is Fate.NEEDS and part in self.needed):
            self._lost |= part.names.binds - self._scope.known
        return decision

    def _decide(self, part: Part) -> Decision:
        if part.zone is Zone.CLOSED:
            return Decision(fate=Fate.SILENT)
        if part.zone is Zone.OPEN and part not in self.taken:
            is_import = isinstance(part.node, ast.Import | ast.ImportFrom)
            return Decision(fate=Fate.SILENT) if is_import else self._leave(part)
        if part in self._dropped:
            return self._without_aliases(part)
        lost = part.names.now & self._lost - self._scope.known
        if lost:
            return Decision(fate=Fate.LOST, names=tuple(sorted(lost)))
        if part.zone is Zone.GRADED:
            return self._decide_graded(part)
        if part.zone is Zone.CHOSEN and part not in self.needed and not _is_definition(part.node):
            return self._leave(part)
        missing = self._scope.missing_names(part.node)
        if missing:
            return Decision(fate=Fate.NEEDS, names=missing)
        return Decision(fate=Fate.TAKEN) if part.zone is Zone.OPEN else _KEPT

    def _without_aliases(self, part: Part) -> Decision:
        """Return an import without the names that go."""
        node = part.node
        assert isinstance(node, ast.Import | ast.ImportFrom)
        gone = self._dropped[part]
        modules = tuple(dict.fromkeys(imported_module(node, alias) for alias in gone))
        node.names = [alias for alias in node.names if alias not in gone]
        if not node.names:
            return Decision(fate=Fate.IMPORT, names=modules)
        self._scope.bind(node)
        return Decision(fate=Fate.IMPORT, names=modules, replacement=ast.unparse(node))

    def _decide_graded(self, part: Part) -> Decision:
        if part in self.needed:
            return Decision(fate=Fate.KEPT)
        if isinstance(part.node, _CALLABLE):
            needs = part.names.now & self._gone
            return Decision(fate=Fate.NEEDS if needs else Fate.KEPT, names=tuple(sorted(needs)))
        if part.names.uses & self._useless:
            return self._leave(part)
        is_effect = not isinstance(part.node, (*_DEFINING, ast.Import, ast.ImportFrom))
        return self._leave(part) if is_effect and part.names.now & self._left else _KEPT

    def _leave(self, part: Part) -> Decision:
        """Return why a statement goes that graded code does not use; no word about `check(...)`."""
        is_text = isinstance(part.node, ast.Expr) and isinstance(part.node.value, ast.Constant)
        is_nothing = is_text or isinstance(part.node, ast.Pass) or is_type_checking(part.node)
        if is_nothing or part.names.uses & self._inert:
            return Decision(fate=Fate.SILENT)
        defines = isinstance(part.node, (*_CALLABLE, ast.Assign, ast.AnnAssign))
        return Decision(fate=Fate.UNUSED if defines and part.names.binds else Fate.EFFECT)

    def unseen(self) -> list[tuple[str, Part, str]]:
        """Return needed names that only code defines which does not run, with it and a user."""
        found: list[tuple[str, Part, str]] = []
        missing = set() if self._stars else self.relevant - self._definers.keys() - _BUILTINS
        for part in [*self._closed, *self._parts]:
            closed = part.names.binds if part.zone is Zone.CLOSED else frozenset()
            for name in sorted(missing & (closed | script_names(part.node))):
                users = [p.title for p in self.needed | self.taken if name in p.names.uses]
                found.append((name, part, min(users, default="")))
        return found


def _is_definition(statement: ast.stmt) -> bool:
    return isinstance(statement, (*_CALLABLE, ast.Import, ast.ImportFrom)) or is_type_checking(
        statement
    )


def _is_plain(statement: ast.stmt) -> bool:
    """Return whether a statement could be an answer, if it is not known which names are."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not any(isinstance(node, ast.Call) for node in ast.walk(statement))
    return isinstance(statement, _CALLABLE)
