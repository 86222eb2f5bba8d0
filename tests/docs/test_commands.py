"""Every command that the README and the pages show exists, and those marked `run` work."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from grader.commands.app import COMMANDS, build_app
from tests.docs.pages import PAGES, ROOT, Block, blocks, command_lines, inline_commands, name_of

USAGE_ERROR: Any = typer.BadParameter.__base__
"""What typer raises for an unknown option or a missing argument; it has no public name."""
TARGETS = frozenset(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
RUN_PAGES = tuple(page for page in PAGES if any(block.run for block in blocks(page)))
SLOW_PAGES = tuple(page for page in RUN_PAGES if any(block.slow for block in blocks(page)))


def _find(words: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the command that `grader WORDS` calls, and its arguments."""
    assert words[0] in COMMANDS, f"grader has no command {words[0]!r}"
    root: Any = typer.main.get_command(build_app(words[0]))
    command, rest = root.commands[words[0]], list(words[1:])
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {' '.join(words)!r}"
        command = command.commands[rest.pop(0)]
    return command, rest


def _parse(words: Sequence[str]) -> str:
    """Parse the arguments of `grader WORDS` as the command line would; return what is wrong."""
    command, rest = _find(words)
    try:
        command.make_context("grader", rest)
    except USAGE_ERROR as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_shown_command_is_one(page: Path) -> None:
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        if words[0] == "grader":
            assert _parse(words[1:]) == "", line
        elif words[0] == "make":
            assert [word for word in words[1:] if "=" not in word and word not in TARGETS] == []
        else:
            assert words[0] == "rm", f"a command that no test knows: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_the_text_exists(page: Path) -> None:
    for line in inline_commands(page):
        words = line.split()
        if words[0] == "make":
            assert words[1] in TARGETS, line
        elif not words[1].startswith("-"):
            command, rest = _find([word for word in words[1:] if word != "[OPTIONS]"])
            parameters = getattr(command, "params", [])
            known = {name for one in parameters for name in (*one.opts, *one.secondary_opts)}
            options = [word.split("=")[0] for word in rest if word.startswith("--")]
            assert set(options) <= known | {"--help"}, line


def test_a_wrong_command_would_be_found() -> None:
    assert "no-such" in _parse(["grade", "kv_cache", "x", "--out", "o", "--no-such"])
    assert _parse(["grade", "kv_cache"]) != ""
    assert _parse(["image", "build", "--base", "x"]) != ""
    with pytest.raises(AssertionError, match="no command"):
        _parse(["resolv", "out"])


def _run(page: Path, folder: Path, chosen: Sequence[Block]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
        if block not in chosen:
            continue
        ended = subprocess.run(
            ["bash", "-e", "-c", block.text],
            cwd=folder,
            env={**os.environ, "PATH": path, "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        printed = f"{block.text}\n{ended.stdout}\n{ended.stderr}"
        assert block.code in (-1, ended.returncode), printed


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_the_quick_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    _run(page, tmp_path, [block for block in blocks(page) if block.run and not block.slow])


@pytest.mark.slow
@pytest.mark.bwrap
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", SLOW_PAGES, ids=name_of)
def test_all_marked_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    _run(page, tmp_path, [block for block in blocks(page) if block.run])


def test_the_marked_commands_cover_what_is_cheap() -> None:
    run = [block.text for page in RUN_PAGES for block in blocks(page) if block.run]
    called = {line.split()[1] for text in run for line in text.splitlines() if "grader " in line}
    cheap = {"list", "init", "check", "pack", "new-assignment", "validate", "doctor", "report"}
    assert cheap <= called
