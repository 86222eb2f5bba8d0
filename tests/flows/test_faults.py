"""Faults of ours and of the machine: a message with its remedy, exit code 1, and nothing lost."""

import csv
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.leftovers import wait_until, watch
from tests.flows.target_class import (
    EXPECTED,
    SLOW,
    TARGET,
    WRONG,
    committed,
    finish,
    grading,
    read_grades,
    start,
    write_class,
)
from tests.hostile.honest import HONEST

pytestmark = pytest.mark.slow
DISK_BYTES = 4 << 20


@pytest.fixture
def small_class(tmp_path: Path) -> Path:
    return write_class(tmp_path / "class", ada=HONEST, bob=WRONG)


@pytest.mark.bwrap
def test_without_an_engine_nothing_is_lost(small_class: Path, tmp_path: Path) -> None:
    pytest.importorskip("docker")
    out = tmp_path / "out"
    dead = {"DOCKER_HOST": f"unix://{tmp_path}/dead.sock"}
    with watch() as watching:
        broken = start(
            watching, *grading(out, small_class, "--sandbox", "docker"), environment=dead
        )
        stdout, stderr = finish(broken, code=1)
        assert (stdout + stderr).count("no container engine answers") == 1  # not per student
        assert "--sandbox bwrap" in stdout + stderr
        assert [row[0] for row in committed(out)] == ["ada", "bob"]
        assert {row[2] for row in committed(out)} == {"ungraded"}
        assert set(read_grades(out)) == {"ada", "bob"}
        with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
            assert [row["score"] for row in csv.DictReader(file)] == ["", ""]  # never a zero
        finish(start(watching, *grading(out, small_class, "--sandbox", "bwrap")))
        assert watching.left() == []
    assert read_grades(out) == {"ada": EXPECTED["honest"], "bob": EXPECTED["wrong"]}


@pytest.mark.docker
def test_a_missing_image_says_how_to_build_it(small_class: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = grading(out, small_class, "--sandbox", "docker", "--image", "no-such-image:ever")
    with watch() as watching:
        stdout, stderr = finish(start(watching, *call), code=1)
        assert watching.left() == []
    assert "no-such-image:ever does not exist" in stdout + stderr
    assert "grader image build" in stdout + stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={DISK_BYTES},mode=755"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; return the file that fills it."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        while shutil.disk_usage(disk).free:
            try:
                file.write(bytes(4096))
            except OSError:
                break
    return filler


@pytest.mark.bwrap
def test_a_full_disk_stops_the_run_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / "out"
    folder = write_class(tmp_path / "class", ada=HONEST, bob=SLOW, cyd=WRONG)
    call = grading(out, folder, "--sandbox", "bwrap")
    with watch() as watching:
        process = start(watching, *call)
        wait_until(lambda: committed(out), within_s=90, what="the first one is graded")
        filler = fill(small_disk)
        stdout, stderr = finish(process, code=1)
        assert "is the disk full" in stdout + stderr
        stdout, stderr = finish(start(watching, *call), code=1)  # full from the start
        assert "is the disk full" in stdout + stderr

        filler.unlink()
        kept = committed(out)
        assert [row[0] for row in kept] in (["ada"], ["ada", "bob"])
        finish(start(watching, *call))
        assert watching.left() == []
    assert committed(out)[: len(kept)] == kept
    assert [row[0] for row in committed(out)] == ["ada", "bob", "cyd"]
    assert read_grades(out)["cyd"] == EXPECTED["wrong"]


def test_mistakes_of_the_author_name_file_table_and_key(small_class: Path, tmp_path: Path) -> None:
    mistakes = {
        "value": (
            "points = 6",
            'points = "six"',
            'problem "scale", check "values": points: expected a number, found \'six\'',
        ),
        "key": (
            "call_wall_s = 1.5",
            "call_wal_s = 1.5",
            "limits: unknown key 'call_wal_s'; did you mean 'call_wall_s'?",
        ),
    }
    with watch() as watching:
        calls = []
        for name, (right, wrong, expected) in mistakes.items():
            assignments = tmp_path / name
            file = plant(right, wrong, assignments)
            call = grading(
                tmp_path / "out", small_class, "--sandbox", "none", assignments=assignments
            )
            line = file.read_text().splitlines().index(wrong) + 1
            calls.append((start(watching, *call), f"{file}, line {line}: {expected}"))
        for process, expected in calls:
            message = " ".join("".join(finish(process, code=1)).split())
            assert expected in message
    assert not (tmp_path / "out").exists()


def plant(right: str, wrong: str, assignments: Path) -> Path:
    """Copy the assignment with a mistake in it, and return its file."""
    shutil.copytree(TARGET / "assignments", assignments)
    file = assignments / "target" / "assignment.toml"
    text = file.read_text()
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong))
    return file
