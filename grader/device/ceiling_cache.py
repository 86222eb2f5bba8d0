"""Ceilings kept between runs, one file per device class, with where they come from.

Takes: a setting and a way to measure. Gives: `ceilings_of`. Does not cover: measuring (see
`device.ceiling_measurement`).

Another device, driver, torch, Triton or way of measuring makes the file worthless: it is measured
anew. So does a file that cannot be read; that is said.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cattrs

from grader.device.ceilings import Ceilings, Setting
from grader.strict import json_converter

_CONVERTER = json_converter()
_MAX_FILE_BYTES = 1 << 20


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return where this user's caches lie.

    Source: XDG Base Directory Specification 0.8, `XDG_CACHE_HOME`.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    root = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return root / "grader"


def ceilings_of(
    setting: Setting,
    measure: Callable[[Setting], Ceilings],
    *,
    folder: Path,
    on_notice: Callable[[str], None],
) -> Ceilings:
    """Return the ceilings that hold under a setting, from the cache if it has them.

    Args:
        setting: of this machine, now.
        measure: called if they must be measured.
        folder: of the cache; made if missing. One that cannot be written costs time, no error.
        on_notice: called with a sentence when a file is not used, or cannot be kept.
    """
    path = folder / f"ceilings-{setting.device_class.replace(':', '-').replace('*', 'any')}.json"
    kept = _read(path, on_notice)
    if kept is not None and kept.setting == setting:
        return kept
    if kept is not None:
        on_notice(f"{path}: {_difference(kept.setting, setting)}; measured anew")
    made = measure(setting)
    try:
        _write(path, made)
    except OSError as error:
        on_notice(f"{path}: not kept: {error.strerror}")
    return made


def express(ceilings: Ceilings) -> str:
    """Return the JSON form of ceilings."""
    return json.dumps(_CONVERTER.unstructure(ceilings), indent=2, allow_nan=False) + "\n"


def _read(path: Path, on_notice: Callable[[str], None]) -> Ceilings | None:
    """Return what a file holds; None, with a notice if there is a file, when it holds nothing."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
        form = json.loads(text)
        if not isinstance(form, dict):
            raise TypeError("not a JSON object")
        found = _CONVERTER.structure(form, Ceilings)
        _check(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError, cattrs.BaseValidationError) as error:
        on_notice(f"{path}: cannot be used ({type(error).__name__}); measured anew")
        return None
    return found


def _check(ceilings: Ceilings) -> None:
    """Refuse rates that are none.

    Raises:
        ValueError: if there is one, or no rate at all.
    """
    rates = [rate.bytes_per_s for rate in ceilings.memory]
    rates += [rate.flops_per_s for rate in ceilings.matmul]
    if not ceilings.memory or not ceilings.matmul:
        raise ValueError("no rates")
    if not all(0 < rate < float("inf") for rate in rates):
        raise ValueError("a rate that is not positive")


def _difference(kept: Setting, now: Setting) -> str:
    names = [name for name in Setting.__slots__ if getattr(kept, name) != getattr(now, name)]
    return ", ".join(
        f"{name} was {getattr(kept, name)!r}, is {getattr(now, name)!r}" for name in names
    )


def _write(path: Path, ceilings: Ceilings) -> None:
    """Replace the file at once, so that no reader finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(express(ceilings))
        Path(scratch).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise
