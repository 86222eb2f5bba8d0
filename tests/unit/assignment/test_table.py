"""Every mistake in `assignment.toml` is named: file, key, expected, found."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.launcher import DTYPE_NAMES
from grader.assignment.table import Evidence, Limits, load_assignment
from grader.assignment.target import CheckKind, Clock, NoDevice, Quantity, Tier
from grader.errors import AuthorError
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

CACHE, ATTEND = 'problem "Cache"', 'problem "attend"'
APPEND, ROLLBACK = f'{CACHE}, check "append": ', f'{CACHE}, check "rollback": '
SPEED = f'{ATTEND}, target "speed": '


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


def test_checks_are_essential_unless_the_table_says_edge(tmp_path):
    edge = GOOD.replace("points = 4.5", 'points = 4.5\nkind = "edge"')
    append, rollback = load_assignment(write(tmp_path, edge)).problems[0].checks
    assert (append.kind, rollback.kind) == (CheckKind.ESSENTIAL, CheckKind.EDGE)
    checks = (append, rollback)
    assert append.share_of(checks) == 1.0
    assert rollback.share_of(checks) == 4.5 / 10.5
    assert replace(rollback, share=0.0).share_of(checks) == 0.0


def test_device_points_are_left_out_on_request(tmp_path):
    asked = GOOD.replace("allowed_imports", "without_device_targets = true\nallowed_imports")
    assert load_assignment(write(tmp_path, asked)).without_device_targets


@pytest.mark.parametrize(
    ("denied", "compilers"),
    [('["torch.fft"]', True), ('["aten::mm"]', False), ('["torch.fft", "@compute"]', False)],
)
def test_no_compiler_is_imported_where_operators_are_denied(tmp_path, denied, compilers):
    text = GOOD.replace("allowed_imports", f"denied = {denied}\nallowed_imports")
    limits = load_assignment(write(tmp_path, text)).limits
    assert limits.preload_compilers == (Limits().preload_compilers if compilers else ())


def test_every_dtype_of_a_reply_may_have_a_tolerance():
    assert frozenset(NAMES.values()) == DTYPE_NAMES


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("slug =", "slugg =", "unknown key 'slugg'; did you mean 'slug'? "),
        ("call_wall_s = 4", "call_wal_s = 4", "limits: unknown key 'call_wal_s'; did you mean "),
        ("evidence =", "evidense =", ATTEND + ", check \"append\": unknown key 'evidense'; did "),
        ('title = "Demo"', "title = 3", "title: expected a string, found 3"),
        ("call_wall_s = 4", 'call_wall_s = "4"', "limits.call_wall_s: expected a number, found '4"),
        ("call_wall_s = 4", "call_wall_s = true", "limits.call_wall_s: expected a number, found T"),
        ("536_870_912", "5e8", "limits.memory_bytes: expected a whole number, found 500000000.0"),
        ("points = 4.5", 'points = "4"', ROLLBACK + "points: expected a number, found '4'"),
        ("1e-5", '"1e-5"', APPEND + "tolerance.float32: expected a number, found '1e-5'"),
        ('"denied"', '"hearsay"', "evidence: expected one of outside, bounded, denied, advice, fo"),
        ("schema_version = 1", "schema_version = 2", "schema_version: expected 1, found 2"),
        ("schema_version = 1", "schema_version = true", "schema_version: expected a whole number"),
        ('"demo"', '"other"', "slug: expected the folder's name, 'demo', found 'other'"),
        ("points = 6", "points = 6\nshare = 0.1", APPEND + 'share: expected none without kind = "'),
        (
            'evidence = "denied"',
            'kind = "edge"',
            f'{ATTEND}, check "append": kind: expected "essential" for at least one check, beca',
        ),
        ("points = 6", 'points = 6\nkind = "side"', "kind: expected one of essential, edge, found"),
        ("points = 6", "points = 0", APPEND + "points: expected a number above 0, found 0.0"),
        ("points = 4.5", "points = 0", ROLLBACK + "points: expected a number above 0, found 0.0"),
        ("points = 4.5", "points = -1", ROLLBACK + "points: expected a number above 0, found -1.0"),
        ("points = 4.5", "points = inf", ROLLBACK + "points: expected a number above 0, found inf"),
        ("points = 4.5", "points = nan", ROLLBACK + "points: expected a number above 0, found nan"),
        ("1e-5", "1.5", APPEND + "tolerance.float32: expected a number in [0, 1), found 1.5"),
        ("1e-5", "1", APPEND + "tolerance.float32: expected a number in [0, 1), found 1.0"),
        ("1e-5", "-0.1", APPEND + "tolerance.float32: expected a number in [0, 1), found -0.1"),
        ("1e-5", "nan", APPEND + "tolerance.float32: expected a number in [0, 1), found nan"),
        ('"rollback"', '"append"', APPEND + "name: expected a name that nothing else here has"),
        ('"attend"\ntitle', '"Cache"\ntitle', CACHE + ": name: expected a name that nothing"),
        ('"rollback"', '"roll back"', "name: expected letters, digits and _, a letter first, 64 a"),
        ('"rollback"', '""', CACHE + ", check \"\": name: expected letters, digits and _"),
        ("float32 = 1e-5", "floaat = 1e-5", "tolerance.floaat: expected a dtype such as float32"),
        ('"growth"', '"grouth"', SPEED + "quantity: expected one of time, growth, memory, traffic"),
        ('"wall"', '"sun"', SPEED + "clock: expected one of cpu, wall, found 'sun'"),
        ('"speed"', '"append"', ATTEND + ", target \"append\": name: expected a name that"),
        ("points = 3", "points = 0", SPEED + "points: expected a number above 0, found 0.0"),
        ("full_at = 0.25", "full_at = 0.75", SPEED + "tiers.cpu.full_at: expected 0 <= full_at <="),
        ("full_at = 0.25", 'full_at = "a"', SPEED + "tiers.cpu.full_at: expected a number, found "),
        ("at_most = 20", "at_most = 1", SPEED + "tiers.cpu.ratio_at_most: expected a number above"),
        ('"growth"', '"time"', SPEED + "tiers.cpu.ratio_at_most: expected none, because no growth"),
        ('["Cache"]', '["Cache"]\nranks = 9', CACHE + ": ranks: expected 0 to 8, found 9"),
        ('["Cache"]', '"Cache"', CACHE + ": exports: expected a list, found 'Cache'"),
        ('["Cache"]', '["Cache", 7]', CACHE + ": exports[1]: expected a string, found 7"),
        ('clock = "wall"', "network_rate = -1", SPEED + "network_rate: expected bytes per second"),
        ('clock = "wall"', "network_rate = 1", SPEED + "network_rate: expected none, because"),
        ('clock = "wall"', "traffic_share = 0.5", SPEED + "traffic_share: expected none"),
        ('clock = "wall"', "traffic_share = 0.5", SPEED + "traffic_share: expected none, because"),
        ('clock = "wall"', "network_rate = 9\ntraffic_share = 1.0", "none beside a network_rate"),
        ("call_wall_s = 4", "call_wall_s = 0", "limits.call_wall_s: expected a number above 0"),
        ("call_wall_s = 4", "call_wall_s = nan", "limits.call_wall_s: expected a number above 0"),
        ("call_wall_s = 4", "load_wall_s = inf", "limits.load_wall_s: expected a number above 0"),
        ("call_wall_s = 4", "processes = -1", "limits.processes: expected a number above 0"),
        ("536_870_912", "0", "limits.memory_bytes: expected a number above 0"),
        ("536_870_912", "1" + "0" * 30, "limits.memory_bytes: expected a number above 0"),
        ("call_wall_s = 4", "ranks = 9", "limits.ranks: expected at most 8, found 9"),
        ("call_wall_s = 4", "call_wall_s = 1" + "0" * 400, "call_wall_s: expected a number, found"),
        ("call_wall_s = 4", "call_wall_s = 1" + "0" * 5000, "not valid TOML: Exceeds the limit"),
        ("call_wall_s = 4", "preload = " + "[" * 5000, "not valid TOML: maximum recursion depth"),
        ("call_wall_s = 4", 'preload_compilers = ["a b"]', "limits.preload: expected names of mod"),
        ("call_wall_s = 4", 'preload = ["a b"]', "limits.preload: expected names of modules such "),
        ("tiers.cpu", "tiers.tpu", SPEED + "tiers.tpu: expected one of cpu, cuda:h200"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path, old, new, expected):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    folder = write(tmp_path, text)
    with pytest.raises(AuthorError) as caught:
        load_assignment(folder)
    message = str(caught.value)
    assert re.match(rf"{folder / 'assignment.toml'}(, line \d+)?: ", message)
    assert expected in message


@pytest.mark.parametrize(
    ("gone", "place"),
    [
        ("schema_version = 1\n", "schema_version"),
        ('slug = "demo"\n', "slug"),
        ('title = "A cache"\n', 'problem "Cache": title'),
        ('exports = ["attend", "mask"]\n', 'problem "attend": exports'),
        ("points = 4.5\n", 'problem "Cache", check "rollback": points'),
        ('name = "rollback"\n', 'problem "Cache": check[1].name'),
    ],
)
def test_a_missing_key_is_named_with_its_path(tmp_path, gone, place):
    assert gone in GOOD
    with pytest.raises(AuthorError) as caught:
        load_assignment(write(tmp_path, GOOD.replace(gone, "", 1)))
    message = re.sub(r", line \d+", "", str(caught.value))
    assert message.endswith(f"assignment.toml: {place}: missing key")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("slug =", "slugg =", "slugg ="),
        ("call_wall_s = 4", "call_wall_s = -4", "call_wall_s = -4"),
        ("points = 4.5", "points = true", "points = true"),
        ("points = 4.5", "poinst = 4.5", "poinst ="),
        ("float32 = 1e-5", "float32 = 5", "float32 = 5"),
        ("ratio_at_most = 30", "ratio_at_most = 0.1", "ratio_at_most = 0.1"),
        ("full_at = 0.3", 'full_at = "no"', 'full_at = "no"'),
        ("points = 3\n", "", "[[problem.target]]"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, line):
    text = GOOD.replace(old, new, 1)
    with pytest.raises(AuthorError, match=rf"\.toml, line {line_of(text, line)}: "):
        load_assignment(write(tmp_path, text))


@given(st.sampled_from([n for n, line in enumerate(GOOD.splitlines(), 1) if " = " in line]))
def test_an_unknown_key_is_found_on_any_line(tmp_path_factory, after):
    lines = GOOD.splitlines()
    lines.insert(after, "shares = 1  # a key of no table")
    folder = write(tmp_path_factory.mktemp("course"), "\n".join(lines))
    with pytest.raises(AuthorError, match=rf"\.toml, line {after + 1}: .*unknown key 'shares'"):
        load_assignment(folder)


def test_a_word_that_is_near_is_offered(tmp_path):
    with pytest.raises(AuthorError, match=r"'poinst'; did you mean 'points'\? allowed here: "):
        load_assignment(write(tmp_path, GOOD.replace("points = 6", "poinst = 6")))


def test_a_mistake_of_syntax_has_the_line_of_the_parser(tmp_path):
    text = GOOD.replace("points = 4.5", "points = = 4.5")
    with pytest.raises(AuthorError, match=f"line {line_of(text, 'points = = 4.5')}"):
        load_assignment(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("[limits]", "[limits"), "not valid TOML"),
        (GOOD + "points = 1\npoints = 2\n", "not valid TOML"),
        (GOOD.encode().replace(b"Demo", b"D\xe9mo"), "not valid TOML"),
        (b"\xff\xfe\x00", "not valid TOML"),
        ("", "missing key"),
        (GOOD.partition("[[problem]]")[0], "problem: missing key"),
        (GOOD.partition("[limits]")[0] + "problem = []\n", "at least one"),
        (GOOD.partition("[limits]")[0] + "problem = 3\n", "problem"),
        (GOOD.partition("[[problem.check]]")[0], "check: missing key"),
        (GOOD.partition("[[problem.check]]")[0] + "check = []\n", "at least one"),
        (GOOD.replace("[limits]", "[[limits]]"), "limits"),
        (GOOD.replace('exports = ["Cache"]', 'exports = [1]'), "a string"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_assignment(tmp_path, text, expected):
    with pytest.raises(AuthorError) as caught:
        load_assignment(write(tmp_path, text))
    assert expected in str(caught.value)
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


def test_limits_allow_the_most_ranks_of_any_problem(tmp_path):
    alone = load_assignment(write(tmp_path, GOOD))
    assert (alone.limits.ranks, [p.ranks for p in alone.problems]) == (1, [0, 0])
    text = GOOD.replace('exports = ["Cache"]', 'exports = ["Cache"]\nranks = 3')
    (tmp_path / "group").mkdir()
    group = load_assignment(write(tmp_path / "group", text))
    assert (group.limits.ranks, [p.ranks for p in group.problems]) == (3, [3, 0])
