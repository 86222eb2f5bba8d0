"""Every mistake in `assignment.toml` is named: file, line, key, expected, found."""

from dataclasses import replace

import pytest

from grader.errors import AuthorError
from grader.plan.assignment import Evidence, Limits, load_assignment
from grader.plan.dtypes import DTYPE_NAMES
from grader.plan.target import Clock, NoDevice, Quantity, Tier
from grader.runner.tensors import NAMES

GOOD = """\
schema_version = 1
slug = "demo"
title = "Demo"
allowed_imports = ["torch"]

[limits]
call_wall_s = 4
memory_bytes = 536_870_912

[[problem]]
name = "Cache"
title = "A cache"
exports = ["Cache"]

[[problem.check]]
name = "append"
title = "Appends"
points = 6
tolerance = { float32 = 1e-5 }

[[problem.check]]
name = "rollback"
title = "Rolls back"
points = 4.5

[[problem]]
name = "attend"
title = "Attention"
exports = ["attend", "mask"]

[[problem.check]]
name = "append"
title = "Same name, other problem"
points = 2
evidence = "denied"

[[problem.target]]
name = "speed"
title = "Fast"
points = 3
quantity = "growth"
clock = "wall"

[problem.target.tiers.cpu]
pass_at = 0.5
full_at = 0.25
ratio_at_most = 20

[problem.target.tiers."cuda:*"]
pass_at = 0.6
full_at = 0.3
ratio_at_most = 30
"""


def write(tmp_path, text, slug="demo"):
    folder = tmp_path / slug
    folder.mkdir()
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "assignment.toml").write_bytes(content)
    return folder


def line_of(text, needle, nth=0):
    return [n for n, line in enumerate(text.splitlines(), 1) if needle in line][nth]


def test_a_good_file_is_read_whole(tmp_path):
    assignment = load_assignment(write(tmp_path, GOOD))
    assert (assignment.slug, assignment.title, assignment.points) == ("demo", "Demo", 15.5)
    assert assignment.allowed_imports == ("torch",)
    assert assignment.limits == Limits(call_wall_s=4.0, memory_bytes=512 << 20)
    cache, attend = assignment.problems
    assert (cache.points, attend.exports) == (10.5, ("attend", "mask"))
    assert cache.checks[0].tolerance == {"float32": 1e-5}
    assert cache.checks[1].tolerance == {}
    assert cache.checks[0].evidence is Evidence.OUTSIDE
    assert attend.checks[0].evidence is Evidence.DENIED
    assert cache.targets == ()
    (speed,) = attend.targets
    assert (speed.quantity, speed.clock) == (Quantity.GROWTH, Clock.WALL)
    assert speed.no_device is NoDevice.UNGRADED
    assert speed.tiers_for("cpu") == (Tier(pass_at=0.5, full_at=0.25, ratio_at_most=20.0),)
    assert speed.tiers_for("cuda:h200") == (speed.tiers["cuda:*"],)
    assert replace(speed, tiers={"cuda:h200": speed.tiers["cpu"]}).tiers_for("cuda:t4") == ()


def test_every_dtype_that_travels_may_have_a_tolerance():
    assert frozenset(NAMES.values()) == DTYPE_NAMES


@pytest.mark.parametrize(
    ("old", "new", "line", "parts"),
    [
        ("slug =", "slugg =", "slugg =", ("'slugg'", "allowed here", "slug", "title")),
        ("call_wall_s = 4", "call_wal_s = 4", "call_wal_s", ("'call_wal_s'", "call_wall_s")),
        ("evidence =", "evidense =", "evidense", ("'evidense'", "evidence", "tolerance")),
        ('title = "Demo"', "title = 3", "title = 3", ("title", "a string", "3")),
        ("call_wall_s = 4", 'call_wall_s = "4"', "call_wall_s", ("a number", "'4'")),
        ("call_wall_s = 4", "call_wall_s = true", "call_wall_s", ("a number", "True")),
        ("536_870_912", "5e8", "memory_bytes", ("memory_bytes", "a whole number", "500000000.0")),
        ("points = 4.5", 'points = "4"', 'points = "4"', ("points", "a number", "'4'")),
        ("1e-5", '"1e-5"', "float32", ("tolerance", "a number", "'1e-5'")),
        ('"denied"', '"hearsay"', "hearsay", ("outside, bounded, denied, advice", "'hearsay'")),
        ("schema_version = 1", "schema_version = 2", "schema", ("schema_version", "1", "2")),
        ("schema_version = 1", "schema_version = true", "schema", ("a whole number", "True")),
        ('"demo"', '"other"', "slug", ("slug", "the folder's name, 'demo'", "'other'")),
        ("points = 6", "points = 0", "points = 0", ("points", "above 0 for Cache.append", "0")),
        ("points = 4.5", "points = -1", "points = -1", ("above 0 for Cache.rollback", "-1.0")),
        ("points = 4.5", "points = inf", "points = inf", ("above 0 for Cache.rollback", "inf")),
        ("points = 4.5", "points = nan", "points = nan", ("above 0 for Cache.rollback", "nan")),
        ("1e-5", "1.5", "float32 = 1.5", ("tolerance.float32", "[0, 1)", "1.5")),
        ("1e-5", "1", "float32 = 1", ("tolerance.float32", "[0, 1)", "1.0")),
        ("1e-5", "-0.1", "float32 = -0.1", ("tolerance.float32", "[0, 1)", "-0.1")),
        ("1e-5", "nan", "float32 = nan", ("tolerance.float32", "[0, 1)", "nan")),
        ('"rollback"', '"append"', '"append"', ("check or target name in Cache once", "'append'")),
        ('"attend"\ntitle', '"Cache"\ntitle', '"Cache"', ("problem name once", "'Cache'")),
        ('"rollback"', '"roll back"', '"roll back"', ("letters, digits and _", "'roll back'")),
        ('"rollback"', '""', 'name = ""', ("letters, digits and _", "''")),
        ("float32 = 1e-5", "floaat = 1e-5", "floaat", ("a dtype such as float32", "'floaat'")),
        ('"growth"', '"grouth"', "grouth", ("time, growth, memory, traffic", "'grouth'")),
        ('"wall"', '"sun"', '"sun"', ("cpu, wall", "'sun'")),
        ('"speed"', '"append"', '"append"', ("check or target name in attend once", "'append'")),
        ("points = 3", "points = 0", "points = 0", ("above 0 for attend.speed", "0")),
        ("full_at = 0.25", "full_at = 0.75", "full_at", ("full_at <= pass_at", "0.75 and 0.5")),
        ("at_most = 20", "at_most = 1", "ratio_at_most", ("above 1 for attend.speed", "1.0")),
        ('"growth"', '"time"', "ratio_at_most", ("attend.speed measures no growth", "20.0")),
        ('["Cache"]', '["Cache"]\nranks = 9', "ranks", ("0 to 8 in Cache", "9")),
        ('clock = "wall"', "wire_rate = -1", "wire_rate", ("bytes per second", "-1")),
        ('clock = "wall"', "wire_rate = 1", "wire_rate", ("attend.speed is no time of ranks", "1")),
        ('clock = "wall"', "wire_share = inf", "wire_share", ("a share of a time", "inf")),
        ('clock = "wall"', "wire_share = 0.5", "wire_share", ("is no time of ranks", "0.5")),
        ('clock = "wall"', "wire_rate = 9\nwire_share = 1.0", "wire_share", ("has a wire_rate",)),
        ("call_wall_s = 4", 'preload = ["a b"]', "preload", ("names of modules", "'a b'")),
        ("tiers.cpu", "tiers.tpu", "tiers.tpu", ("one of cpu, cuda:h200", "'tpu'")),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path, old, new, line, parts):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    folder = write(tmp_path, text)
    with pytest.raises(AuthorError) as caught:
        load_assignment(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'assignment.toml'}:")
    for part in parts:
        assert part in message
    named = int(message.removeprefix(f"{folder / 'assignment.toml'}:").split(":")[0])
    assert named == line_of(text, line)


@pytest.mark.parametrize(
    ("gone", "key", "place"),
    [
        ("schema_version = 1\n", "schema_version", "the file"),
        ('slug = "demo"\n', "slug", "the file"),
        ('title = "A cache"\n', "title", "problem.0"),
        ('exports = ["attend", "mask"]\n', "exports", "problem.1"),
        ("points = 4.5\n", "points", "problem.0.check.1"),
        ('name = "rollback"\n', "name", "problem.0.check.1"),
    ],
)
def test_a_missing_key_is_named_with_its_place(tmp_path, gone, key, place):
    assert gone in GOOD
    with pytest.raises(
        AuthorError, match=rf"assignment\.toml:\d+: missing key '{key}' in {place}$"
    ):
        load_assignment(write(tmp_path, GOOD.replace(gone, "", 1)))


def test_the_line_of_a_missing_key_is_that_of_its_table(tmp_path):
    text = GOOD.replace("points = 4.5\n", "")
    with pytest.raises(AuthorError) as caught:
        load_assignment(write(tmp_path, text))
    named = int(str(caught.value).split(":")[1])
    assert named == line_of(text, "[[problem.check]]", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("[limits]", "[limits"), "not valid TOML"),
        (GOOD + "points = 1\npoints = 2\n", "not valid TOML"),
        (GOOD.encode().replace(b"Demo", b"D\xe9mo"), "not valid TOML"),
        (b"\xff\xfe\x00", "not valid TOML"),
        ("", "missing key"),
        (GOOD.partition("[[problem]]")[0], "missing key 'problem'"),
        (GOOD.partition("[limits]")[0] + "problem = []\n", "at least one"),
        (GOOD.partition("[limits]")[0] + "problem = 3\n", "problem"),
        (GOOD.partition("[[problem.check]]")[0], "missing key 'check'"),
        (GOOD.partition("[[problem.check]]")[0] + "check = []\n", "at least one"),
        (GOOD.replace("[limits]", "[[limits]]"), "limits"),
        (GOOD.replace('exports = ["Cache"]', 'exports = [1]'), "a string"),
    ],
)  # fmt: skip
def test_what_is_no_assignment_at_all(tmp_path, text, said):
    with pytest.raises(AuthorError) as caught:
        load_assignment(write(tmp_path, text))
    assert said in str(caught.value)
    assert "assignment.toml" in str(caught.value)


def test_a_folder_without_the_file(tmp_path):
    with pytest.raises(AuthorError, match=r"assignment\.toml: not found") as caught:
        load_assignment(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("slug", ["Demo", "1demo", "d", "de-mo", "d" * 70])
def test_a_slug_is_a_safe_folder_name(tmp_path, slug):
    text = GOOD.replace('"demo"', f'"{slug}"')
    with pytest.raises(AuthorError, match="slug"):
        load_assignment(write(tmp_path, text, slug))


def test_the_limits_hold_for_the_largest_world(tmp_path):
    alone = load_assignment(write(tmp_path, GOOD))
    assert (alone.limits.ranks, [p.ranks for p in alone.problems]) == (1, [0, 0])
    text = GOOD.replace('exports = ["Cache"]', 'exports = ["Cache"]\nranks = 3')
    (tmp_path / "group").mkdir()
    group = load_assignment(write(tmp_path / "group", text))
    assert (group.limits.ranks, [p.ranks for p in group.problems]) == (3, [3, 0])
