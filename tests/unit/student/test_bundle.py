"""A bundle: read as packed, or refused with a reason; never trusted."""

import hashlib
import io
import json
import ssl
import threading
import urllib.error
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader import __version__
from grader.errors import UsageError
from grader.student import bundle
from grader.student.bundle import (
    MANIFEST,
    is_bundle,
    make_manifest,
    read_bundle,
    read_manifest,
)

FILES = {
    "README.md": b"# Demo\n",
    "assignment.toml": b'slug = "demo"\n',
    "starter.py": b"def f(): ...\n",
    "harness/loop.py": b"turns = 3\n",
    "public/f.json": b"{}",
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def packed(top="demo-1.2/", files=FILES, **changes):
    """The bytes of a bundle whose manifest has some values of its own."""
    table = json.loads(make_manifest("demo", "1.2", FILES).to_json()) | changes
    members = {MANIFEST: json.dumps(table).encode(), "INSTALL.md": b"how", **files}
    return zipped({top + name: content for name, content in members.items()})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "demo-1.2.zip"


@pytest.mark.parametrize("top", ["demo-1.2/", "", "other/"])
def test_a_zip_gives_the_files_of_its_manifest(path, top):
    path.write_bytes(packed(top))
    read = read_bundle(str(path))
    assert read.files == FILES  # INSTALL.md is no part of the assignment
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (read.manifest.name, read.manifest.version) == ("demo", "1.2")
    assert read.manifest.tool == __version__


@pytest.mark.parametrize("inner", ["", "demo-1.2"])
def test_an_unpacked_folder_gives_the_same(path, tmp_path, inner):
    path.write_bytes(packed())
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "x")
    (tmp_path / "x" / "demo-1.2" / ".DS_Store").write_bytes(b"of the Finder")
    assert read_bundle(str(tmp_path / "x" / inner)).files == FILES
    (tmp_path / "x" / "demo-1.2" / "starter.py").write_bytes(b"my work")
    with pytest.raises(UsageError, match=r"starter\.py is not the file that was packed"):
        read_bundle(str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a bundle"),
        (b"PK\x03\x04 half", "not a bundle"),
        (zipped({"essay.pdf": b"x"}), "expected one bundle.json in it, found 0"),
        (zipped({"a/bundle.json": b"", "b/bundle.json": b""}), "found 2"),
        (zipped({"bundle.json": b"[1"}), "not valid JSON"),
        (zipped({"bundle.json": b"[]"}), "expected a table"),
        (zipped({"bundle.json": b"[" * 200_000}), "not valid JSON"),
        (zipped({"bundle.json": b" " * (1 << 20) + b"{}"}), "1"),
        (packed(files={}), "expected README.md, found no such file"),
        (packed(files={**FILES, "README.md": b"other"}), "README.md is not the file"),
        (packed(format=2), "format: expected 1, found 2"),
        (packed(name="../up"), "name: expected the name of an assignment"),
        (packed(version="../../1"), "version: expected one such as 1.2"),
        (packed(version=1), "version: expected a string"),
        (packed(more="x"), "unknown key 'more'"),
        (packed(files_=1, tool="99.0"), "made for version 99.0 of the grader"),
        (packed()[:-40], "not a bundle"),
    ],
)
def test_what_is_no_bundle_is_refused_with_the_reason(path, content, says):
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"demo-1\.2\.zip") as caught:
        read_bundle(str(path))
    assert says in str(caught.value)
    assert caught.value.hint


NAMES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["../README.md", "/README.md", "public/../../x.json", "harness/.py"]),
    st.sampled_from(["C:README.md", "harness\\a.py", "README.md\n", "conftest.py", ".grader.toml"]),
    st.from_regex(r"\A(public|harness)/[^a-z]*\.(json|py)\Z"),
)


@given(NAMES)
def test_only_names_of_an_assignments_files_are_read(name):
    inside = {"README.md", "assignment.toml", "starter.py", "starter.ipynb", "starter.cu"}
    try:
        made = make_manifest("demo", "1.0", {name: b""})
    except UsageError as error:
        assert "expected files of an assignment" in str(error)  # noqa: PT017
        return
    (read,) = made.files
    parts = read.split("/")
    assert read in {*inside, "harness.py"} or parts[0] in ("public", "harness")
    assert len(parts) <= 2
    assert all(part.isascii() and part.strip(".") == part and part for part in parts)
    assert "\\" not in read
    assert read == read.strip()


def test_names_that_one_disk_cannot_tell_apart_are_refused():
    with pytest.raises(UsageError, match="different names"):
        make_manifest("demo", "1.0", {"harness/a.py": b"", "harness/A.py": b""})


def test_what_unpacks_to_too_much_is_refused(path, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BUNDLE_BYTES", 4000)
    big = {**FILES, "README.md": b"x" * 5000}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in big.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        manifest = json.loads(make_manifest("demo", "1.2", FILES).to_json()) | {"files": hashes}
        for name, content in {MANIFEST: json.dumps(manifest).encode(), **big}.items():
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())
    assert len(buffer.getvalue()) < 4000
    with pytest.raises(UsageError, match="damaged"):
        read_bundle(str(path))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("kv_cache", False),
        ("nothing", False),
        ("Odd-name", False),
        ("kv_cache-1.2.zip", True),
        ("../kv_cache", True),
        ("https://course.example/kv_cache", True),
        ("file:///tmp/x", True),
        (r"C:\bundles\kv_cache-1.2", True),
        ("kv_cache-1.2", True),
        ("begun", False),
        ("named", True),
    ],
)
def test_a_bundle_is_told_from_a_name(tmp_path, monkeypatch, argument, expected):
    monkeypatch.chdir(tmp_path)
    for folder in ("kv_cache-1.2", "begun", "named"):
        (tmp_path / folder).mkdir()
    (tmp_path / "named" / MANIFEST).write_text("{}")
    assert is_bundle(argument) is expected


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://course.example/a.zip", "begins with https"),
        ("ftp://course.example/a.zip", "begins with https"),
        ("data:application/zip;base64,UEs=", "begins with https"),
        ("file:///nowhere/a.zip", "not found"),
        ("file://server/share/a.zip", "not found"),
        ("nowhere/a.zip", "not found"),
    ],
)
def test_other_addresses_are_refused(address, says):
    with pytest.raises(UsageError, match=says) as caught:
        read_bundle(address)
    assert caught.value.hint


def test_a_file_address_is_a_path(path):
    path.write_bytes(packed())
    assert read_bundle(path.as_uri()).files == FILES


class _Reply:
    """What an opener of urllib gives."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, size: int) -> bytes:
        return self.content[:size]


@pytest.fixture
def server(monkeypatch):
    """Answer what an https address gives: bytes, or an exception."""

    def answer(given: Any) -> None:
        def open_(_, address, timeout):
            assert timeout
            if isinstance(given, Exception):
                raise given
            return _Reply(given)

        monkeypatch.setattr("urllib.request.OpenerDirector.open", open_)

    return answer


ADDRESS = "https://course.example/demo-1.2.zip"


def test_an_https_address_gives_the_bundle(server):
    server(packed())
    assert read_bundle(ADDRESS).files == FILES


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"\n<!DOCTYPE html>", "gave a web page"),
        (b"x" * 100_001, "larger than a bundle may be"),
        (b"nothing", "not a bundle"),
        (urllib.error.HTTPError(ADDRESS, 404, "Not Found", {}, None), "answered 404 Not Found"),  # type: ignore[arg-type]
        (urllib.error.URLError("no such host"), "cannot be read: no such host"),
        (TimeoutError("timed out"), "cannot be read: timed out"),
    ],
)
def test_what_an_address_gives_instead_is_named(server, monkeypatch, given, says):
    monkeypatch.setattr(bundle, "MAX_BUNDLE_BYTES", 100_000)
    server(given)
    with pytest.raises(UsageError, match=says) as caught:
        read_bundle(ADDRESS)
    assert caught.value.hint


@contextmanager
def answering(redirect):
    """A plain http server on this machine that redirects; yields its port and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", redirect)
            self.end_headers()

        def log_message(self, *_):
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def test_no_redirect_leads_out_of_https(monkeypatch):
    """The opener knows https alone: a request without TLS is never sent."""
    with answering("http://127.0.0.1/") as (port, asked):
        monkeypatch.setattr(bundle, "_require_https", lambda address: None)
        with pytest.raises(UsageError, match="unknown url type: http"):
            read_bundle(f"http://127.0.0.1:{port}/a.zip")
        assert asked == []


def test_a_certificate_is_required(monkeypatch):
    with answering("https://127.0.0.1/") as (port, asked):
        with pytest.raises(UsageError, match="cannot be read"):
            read_bundle(f"https://127.0.0.1:{port}/a.zip")
        assert asked == []
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_a_manifest_alone_can_be_read(tmp_path):
    (tmp_path / MANIFEST).write_bytes(make_manifest("demo", "1.2", FILES).to_json())
    assert read_manifest(tmp_path / MANIFEST).files.keys() == FILES.keys()
