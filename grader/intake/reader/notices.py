"""What a student is told about reading: one short sentence per kind, with names and places."""

from dataclasses import dataclass, field
from enum import Enum

from .cells import clip

MAX_LISTED = 8


class Kind(Enum):
    """A kind of notice, by the start of its sentence."""

    CUDA = "CUDA C++, which is not graded here, because the assignment or the notebook is in Python"
    TAKEN = "graded as well, because graded cells use it"
    FILE = "written by a cell, and graded as a file of its own"
    UNUSED = "not graded, because no graded code uses it"
    EFFECT = "not run where work is graded"
    MAGIC = "left out, because only a notebook understands it"
    IMPORT = "left out, because it is not there where work is graded, and no graded code uses it"
    NEEDS = "left out, because it needs what is not graded"
    COURSE_TEST = "not used, because it is one of the course's own tests"
    SPLIT = "left out, because it could not be split into statements"


@dataclass(slots=True)
class Ledger:
    """What has been noted so far, in the order of the source: (item, place) by kind."""

    _items: dict[Kind, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, kind: Kind, item: str, place: str, *, needs: tuple[str, ...] = ()) -> None:
        """Note one thing: hostile text, what it needs, and `In [3]` or another place."""
        needed = ", ".join(f"`{clip(name)}`" for name in needs[:3])
        noted = f"`{clip(item)}` needs {needed}" if needs else f"`{clip(item)}`"
        self._items.setdefault(kind, []).append((noted, place))

    def sentences(self) -> list[str]:
        """Return one sentence for each kind."""
        return [f"{kind.value}: {_list(self._items[kind])}" for kind in Kind if kind in self._items]


def _list(items: list[tuple[str, str]]) -> str:
    """Return "`a`, `b` (In [3]), `c` (In [5]) and 4 more"."""
    listed: list[str] = []
    shown = list(dict.fromkeys(items))[:MAX_LISTED]
    for index, (item, place) in enumerate(shown):
        is_last = index + 1 == len(shown) or shown[index + 1][1] != place
        listed.append(f"{item} ({place})" if is_last else item)
    more = len(items) - len(shown)
    return ", ".join(listed) + (f" and {more} more" if more else "")
