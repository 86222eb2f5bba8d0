"""The search for pieces of a reference in a bundle finds what was planted."""

import io
import json
import zipfile

import pytest

from grader.release.bundle import find_leaks

SECRET = "    return maximum + (x - maximum).exp().sum(dim=-1).log()"
SHARED = '    """Return the logarithm of the sum of exponentials."""'


@pytest.fixture
def answers(tmp_path):
    folder = tmp_path / "reference"
    (folder / "wrong").mkdir(parents=True)
    (folder / "solution.py").write_text(f"def f(x):\n{SHARED}\n{SECRET}\n")
    (folder / "wrong" / "half.py").write_text("x = 1\n")
    return folder


def zipped(name, content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        f"# see\n{SECRET}\n".encode(),
        json.dumps({"source": SECRET}).encode(),
        zipped("inner.txt", SECRET),
        zipped("inner.zip", zipped("x", SECRET)),
    ],
    ids=["text", "json", "wheel", "zip in zip"],
)
def test_a_long_line_is_found(answers, content):
    (leak,) = find_leaks({"a": content}, answers, [SHARED])
    assert "contains a line" in leak


def test_a_copied_file_is_found_by_content_and_by_name(answers):
    leaks = find_leaks({"a/wrong/half.py": b"y = 2\n", "b.txt": b"x = 1\n"}, answers, [])
    assert sorted(leak.split(" ")[0] for leak in leaks) == ["a/wrong/half.py", "b.txt"]


def test_the_packages_own_modules_may_have_any_name(answers):
    wheel = zipped("grader/solution.py", "pass")
    assert find_leaks({"a.whl": wheel}, answers, []) == ()
    assert len(find_leaks({"demo-1.0/solution.py": b"pass"}, answers, [])) == 1


def test_shared_lines_labels_and_imports_are_no_leaks(answers):
    lines = (
        '"a label that is quite long and that students read"',
        "from torch import logsumexp as quite_a_long_name",
        "@dataclass(frozen=True, slots=True, kw_only=True)",
    )
    (answers / "cases.py").write_text("\n".join(lines))
    content = "\n".join([SHARED, *lines]).encode()
    assert find_leaks({"a": content}, answers, [SHARED]) == ()
