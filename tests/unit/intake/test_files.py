import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tests.unit.intake.work import GOOD, accept, reject, write, zipped


def special(name: str, mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("kv_cache.py", GOOD)
        info = zipfile.ZipInfo(name)
        info.external_attr = (mode | 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "mode", "found"),
    [
        ("x.py", stat.S_IFLNK, "symbolic link"),
        ("x.py", stat.S_IFIFO, "special file"),
        ("x.py", stat.S_IFCHR, "special file"),
        ("../x.py", stat.S_IFREG, "leads outside"),
        ("a/../../x.py", stat.S_IFREG, "leads outside"),
        ("..\\x.py", stat.S_IFREG, "leads outside"),
        ("/etc/x.py", stat.S_IFREG, "leads outside"),
        ("C:\\x.py", stat.S_IFREG, "leads outside"),
        ("a//x.py", stat.S_IFREG, "leads outside"),
        ("x.py\0.py", stat.S_IFREG, "leads outside"),
    ],
)
def test_special_members_are_rejected(tmp_path: Path, name: str, mode: int, found: str) -> None:
    # zipfile cuts names at NUL when it writes, so the byte goes in afterwards.
    content = special(name.replace("\0", "\x01"), mode).replace(b"py\x01", b"py\0")
    assert found in reject(write(tmp_path / "a.zip", content)).message


def test_data_and_links_beside_the_work_are_named_and_not_opened(tmp_path: Path) -> None:
    beside: dict[str, bytes | str] = {
        "model.pt": bytes(65 << 20),
        **{f"data/{n}.txt": "" for n in range(500)},
    }
    submission = accept(write(tmp_path / "a.zip", zipped({"hw/kv_cache.py": GOOD, **beside})))
    assert submission.files[0].text == GOOD
    assert "data/0.txt" in "".join(submission.notices)
    assert accept(write(tmp_path / "b.zip", special("latest", stat.S_IFLNK))).files[0].text == GOOD
    inner = zipped({"kv_cache.py": GOOD, **beside})
    assert accept(write(tmp_path / "c.zip", zipped({"hw.zip": inner}))).files[0].text == GOOD


def test_bombs_are_rejected_by_size_and_by_ratio(tmp_path: Path) -> None:
    big = write(tmp_path / "a.zip", zipped({"kv_cache.py": GOOD, "x.py": bytes(65 << 20)}))
    assert "at most 64 MiB" in reject(big).message
    dense = write(tmp_path / "b.zip", zipped({"kv_cache.py": GOOD, "x.py": bytes(20 << 20)}))
    assert "200 times" in reject(dense).message


def test_member_that_lies_about_its_size_is_rejected(tmp_path: Path) -> None:
    content = bytearray(zipped({"kv_cache.py": b"#" * 5000}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", content, content.index(signature) + offset, 100)
    assert "damage" in reject(write(tmp_path / "a.zip", bytes(content))).message


def test_too_many_members_are_rejected(tmp_path: Path) -> None:
    many = {"kv_cache.py": GOOD, **{f"f{n}.py": "" for n in range(200)}}
    assert "at most 200 source files" in reject(write(tmp_path / "a.zip", zipped(many))).message
    flood = {f"{n:060000}": "" for n in range(150)}
    assert "too long" in reject(write(tmp_path / "b.zip", zipped(flood))).message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_rejected(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("kv_cache.py", GOOD)
        archive.writestr("kv_cache.py", "x = 2")
    assert "more than once" in reject(write(tmp_path / "a.zip", buffer.getvalue())).message


def test_encryption_and_rare_compression_are_rejected(tmp_path: Path) -> None:
    content = bytearray(zipped({"kv_cache.py": GOOD}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in reject(write(tmp_path / "a.zip", bytes(content))).message
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("kv_cache.py", GOOD)
    assert "compression" in reject(write(tmp_path / "b.zip", buffer.getvalue())).message


def test_truncated_and_damaged_archives_are_rejected(tmp_path: Path) -> None:
    content = zipped({"kv_cache.py": GOOD * 50})
    assert "zip archive" in reject(write(tmp_path / "a.zip", content[:-30])).message
    damaged = bytearray(content)
    damaged[60] ^= 0xFF
    assert "damage" in reject(write(tmp_path / "b.zip", bytes(damaged))).message
    assert "zip archive" in reject(write(tmp_path / "c.zip", b"")).message
