"""Ceilings are measured once per setting, and a bad file is measured anew and named."""

import dataclasses
import json
from pathlib import Path

import pytest

from grader.evidence.device import Ceilings
from grader.performance.measure.ceilings import cache_folder, ceilings_of, express
from tests.unit.performance.measure.ceiling_samples import CEILINGS, SETTING


class Measure:
    """Counts how often it is asked."""

    def __init__(self):
        self.times = 0

    def __call__(self, setting):
        self.times += 1
        return dataclasses.replace(CEILINGS, setting=setting)


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def get(tmp_path, notices):
    measure = Measure()

    def ask(setting=SETTING) -> tuple[Ceilings, int]:
        made = ceilings_of(setting, measure, folder=tmp_path / "cache", on_notice=notices.append)
        return made, measure.times

    return ask


def kept(tmp_path):
    (path,) = (tmp_path / "cache").iterdir()
    return path


def test_the_second_run_measures_nothing(get, notices, tmp_path):
    assert get() == (CEILINGS, 1)
    assert get() == (CEILINGS, 1)
    assert notices == []
    assert kept(tmp_path).name == "ceilings-cuda-h200.json"
    assert kept(tmp_path).read_text() == express(CEILINGS)


@pytest.mark.parametrize("field", ["hardware", "driver", "torch", "triton", "method"])
def test_another_setting_is_measured_anew(get, notices, field):
    get()
    other = dataclasses.replace(SETTING, **{field: "another"})
    made, times = get(other)
    assert (made.setting, times) == (other, 2)
    assert f"{field} was " in notices[0]
    assert get(other)[1] == 2


def test_classes_are_kept_apart(get, notices):
    get()
    assert get(dataclasses.replace(SETTING, device_class="cuda:*"))[1] == 2
    assert get()[1] == 2
    assert not notices


def broken(**changes):
    return json.dumps({**json.loads(express(CEILINGS)), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '"x"',
        "\x00\xff",
        "[" * 100_000,
        broken(extra=1),
        broken(memory=[]),
        broken(matmul=[]),
        broken(memory=[{"way": "copy", "bytes_per_s": 0, "size_bytes": 1}]),
        broken(memory=[{"way": "copy", "bytes_per_s": "fast", "size_bytes": 1}]),
        broken(setting={}),
    ],
)
def test_a_broken_file_is_measured_anew_and_named(get, notices, tmp_path, text):
    get()
    kept(tmp_path).write_text(text, encoding="latin-1")
    assert get() == (CEILINGS, 2)
    assert "cannot be used" in notices[0]
    assert str(kept(tmp_path)) in notices[0]
    assert get() == (CEILINGS, 2)


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path, notices):
    (tmp_path / "cache").write_text("a file")
    measure = Measure()
    made = ceilings_of(SETTING, measure, folder=tmp_path / "cache", on_notice=notices.append)
    assert made == CEILINGS
    assert "cannot be cached" in notices[-1]


def test_the_folder_is_the_users():
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/grader")
    home = Path.home() / ".cache/grader"
    assert cache_folder({}) == home
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == home
