"""Which sandbox is chosen: never an unconfined one automatically."""

import sys

import pytest

from grader.errors import UsageError
from grader.sandbox import backends
from grader.sandbox.backends import BACKENDS, choose, make_backend


@pytest.mark.parametrize(
    ("docker", "bwrap", "chosen"),
    [
        ("", "", "docker"),
        ("", "not installed", "docker"),
        ("no engine", "", "bwrap"),
    ],
)
def test_auto_chooses_docker_then_bwrap(monkeypatch, docker, bwrap, chosen):
    monkeypatch.setattr(backends, "missing_docker", lambda image: docker)
    monkeypatch.setattr(backends, "missing_bwrap", lambda: bwrap)
    assert choose("auto", "image") == chosen


def test_auto_never_chooses_none(monkeypatch):
    monkeypatch.setattr(backends, "missing_docker", lambda image: f"no image {image}")
    monkeypatch.setattr(backends, "missing_bwrap", lambda: "not installed")
    with pytest.raises(UsageError, match="docker: no image grading; bwrap: not") as caught:
        choose("auto", "grading")
    assert "--sandbox none" in caught.value.hint


@pytest.mark.parametrize("name", ["bwrap", "none"])
def test_a_name_is_used_as_it_is(monkeypatch, name):
    monkeypatch.setattr(backends, "missing_bwrap", lambda: "not installed")
    assert choose(name, "image") == name


@pytest.mark.parametrize("name", ["", "Docker", "nsjail", "auto "])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(UsageError, match="no sandbox called") as caught:
        choose(name, "image")
    for known in ("auto", *BACKENDS):
        assert known in caught.value.hint


@pytest.mark.parametrize("name", ["bwrap", "none"])
def test_every_backend_can_be_made_and_started(name):
    assert callable(make_backend(name).start)


def test_bubblewrap_is_looked_for_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert backends.missing_bwrap() == "bubblewrap is not installed"
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert backends.missing_bwrap() == ""


def test_docker_without_its_package_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "grader.sandbox.image", raising=False)
    monkeypatch.setitem(sys.modules, "docker", None)
    assert "docker is not installed" in backends.missing_docker("image")
