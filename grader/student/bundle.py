"""A bundle: one assignment as data, which a course gives out and `grader init` installs.

`read_bundle` takes a zip, the unpacked folder or an https address, and gives the files that the
bundle's manifest lists, each with the hash that stands there. Whoever made a bundle is not trusted
with the student's machine: only files of an assignment are read, under their usual names, sizes are
limited, and nothing is executed. `student.install` writes the files.
"""

import hashlib
import http.client
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cattrs

from grader import __version__
from grader.assignment.folders import version_key
from grader.assignment.table import SLUG_PATTERN, VERSION_PATTERN
from grader.errors import IntakeError, UsageError
from grader.intake.files import MIB, open_archive, read_regular
from grader.strict import find_mistakes, strict_converter

MANIFEST = "bundle.json"
FORMAT = 1
MAX_BUNDLE_BYTES = 64 * MIB
"""Of the zip, and of its files together when they are unpacked."""
MAX_FILES = 400
PATIENCE_S = 30.0
"""Seconds in which a server must send something."""

_DIRECTORY_BYTES = MIB
_MANIFEST_BYTES = MIB
_FILE = re.compile(
    r"README\.md|assignment\.toml|starter\.(?:py|ipynb|cu)|harness\.py"
    r"|harness/[A-Za-z_][A-Za-z0-9_]{0,63}\.py|public/[A-Za-z_][A-Za-z0-9_]{0,63}\.json"
)
_HTTPS_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
)
_AGAIN = "get the bundle from your course again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `bundle.json` says of a bundle.

    Attributes:
        format: version of this format.
        name: of the assignment.
        version: of the assignment, such as "1.2".
        tool: the oldest version of the grader that can use the bundle.
        files: SHA-256 of each file of the assignment, by its name in the assignment's folder.
    """

    format: int
    name: str
    version: str
    tool: str
    files: dict[str, str]

    def to_json(self) -> bytes:
        """Return the text of `bundle.json`."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that was read.

    Attributes:
        sha256: of the zip; empty for a folder.
        files: bytes of the assignment's files, by name.
    """

    manifest: Manifest
    sha256: str
    files: dict[str, bytes]


def make_manifest(name: str, version: str, files: dict[str, bytes]) -> Manifest:
    """Return the manifest of an assignment's files.

    Raises:
        UsageError: if a bundle cannot hold one of them.
    """
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    made = Manifest(format=FORMAT, name=name, version=version, tool=__version__, files=hashes)
    _require_usable(made, name)
    return made


def is_bundle(given: str) -> bool:
    """Return whether an argument of `grader init` is a bundle, not the name of an assignment."""
    path = Path(given)
    if _is_address(given) or path.is_file() or (path / MANIFEST).is_file():
        return True
    return not SLUG_PATTERN.fullmatch(given) and (
        path.is_dir() or given.lower().endswith(".zip") or "/" in given or "\\" in given
    )


def read_bundle(given: str) -> Bundle:
    """Read the bundle at a path or an https address.

    Raises:
        UsageError: if there is none, or it is damaged, or it needs a newer grader.
    """
    if _is_address(given):
        return _from_zip(_download(given), urlsplit(given).path.rpartition("/")[2] or given)
    path = Path(given)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        hint = "give the zip that your course handed out, its folder or its https address"
        raise UsageError(f"{path}: not found", hint=hint)
    try:
        content = read_regular(path, limit_bytes=MAX_BUNDLE_BYTES)
    except IntakeError as error:
        raise UsageError(f"{path}: not a bundle: {error}", hint=_AGAIN) from error
    return _from_zip(content, path.name)


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises:
        UsageError: if it is missing or damaged.
    """
    try:
        return _parse(read_regular(path, limit_bytes=_MANIFEST_BYTES), str(path))
    except IntakeError as error:
        raise UsageError(f"{path}: {error}", hint=_AGAIN) from error


def _from_folder(folder: Path) -> Bundle:
    """Read an unpacked bundle; some programs unpack into one more folder of the same name."""
    found = [path.parent for path in (folder / MANIFEST, *folder.glob(f"*/{MANIFEST}"))]
    roots = [path for path in found if (path / MANIFEST).is_file()]
    if not roots:
        raise UsageError(
            f"{folder}: no bundle of an assignment: it holds no {MANIFEST}",
            hint="give the zip that your course handed out, or the folder that it unpacks to",
        )
    return _verified(
        lambda name, limit: read_regular(roots[0] / name, limit_bytes=limit), str(folder), sha256=""
    )


def _from_zip(content: bytes, label: str) -> Bundle:
    try:
        with open_archive(
            io.BytesIO(content), name=label, directory_bytes=_DIRECTORY_BYTES
        ) as archive:
            members = {member.name: member for member in archive.members}
            tops = [name for name in members if re.fullmatch(rf"([^/]+/)?{MANIFEST}", name)]
            if len(tops) != 1:
                raise UsageError(
                    f"{label}: no bundle of an assignment: expected one {MANIFEST} in it, "
                    f"found {len(tops)}",
                    hint="a bundle is the zip that `grader release` makes; ask your course for it",
                )
            prefix = tops[0].removesuffix(MANIFEST)

            def read(name: str, limit_bytes: int) -> bytes:
                if prefix + name not in members:
                    raise IntakeError(f"expected {name}, found no such file")
                return archive.read(members[prefix + name], limit_bytes=limit_bytes)

            return _verified(read, label, sha256=hashlib.sha256(content).hexdigest())
    except IntakeError as error:
        raise UsageError(f"{label}: not a bundle: {error}", hint=_AGAIN) from error


def _verified(read: Callable[[str, int], bytes], label: str, *, sha256: str) -> Bundle:
    """Read the manifest, and with it the files, all of them together within the limit.

    Raises:
        UsageError: if one is missing, too large or not the one that was packed.
    """
    files: dict[str, bytes] = {}
    left = MAX_BUNDLE_BYTES
    try:
        manifest = _parse(read(MANIFEST, _MANIFEST_BYTES), label)
        for name, digest in manifest.files.items():
            files[name] = read(name, left)
            left -= len(files[name])
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise UsageError(
                    f"{label}: {name} is not the file that was packed: damaged, or edited since",
                    hint=f"{_AGAIN}; your own work goes into the folder that `grader init` makes",
                )
    except IntakeError as error:
        raise UsageError(f"{label}: the bundle is damaged: {error}", hint=_AGAIN) from error
    return Bundle(manifest=manifest, sha256=sha256, files=files)


def _parse(text: bytes, label: str) -> Manifest:
    where = f"{label}: {MANIFEST}"
    try:
        table = json.loads(text)
        # Before anything else is looked at: a newer format may have other keys.
        tool = table.get("tool") if isinstance(table, dict) else None
        if isinstance(tool, str) and version_key(tool) > version_key(__version__):
            raise UsageError(
                f"{label}: made for version {tool} of the grader, and this is {__version__}",
                hint="install the newer wheel that your course gives out: "
                "python -m pip install --upgrade WHEEL",
            )
        manifest = strict_converter().structure(table, Manifest)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid JSON: {error}", hint=_AGAIN) from error
    except cattrs.BaseValidationError as error:
        mistakes = "; ".join(str(one) for one in find_mistakes(error)[:3])
        raise UsageError(f"{where}: {mistakes}", hint=_AGAIN) from error
    except TypeError as error:  # the whole value is of another type
        raise UsageError(f"{where}: {error}", hint=_AGAIN) from error
    _require_usable(manifest, where)
    return manifest


def _require_usable(manifest: Manifest, where: str) -> None:
    names = list(manifest.files)
    odd = [name for name in names if not _FILE.fullmatch(name)]
    wrong = ""
    if manifest.format != FORMAT:
        wrong = f"format: expected {FORMAT}, found {manifest.format}"
    elif not SLUG_PATTERN.fullmatch(manifest.name):
        wrong = f"name: expected the name of an assignment, found {manifest.name!r:.80}"
    elif not VERSION_PATTERN.fullmatch(manifest.version):
        wrong = f"version: expected one such as 1.2, found {manifest.version!r:.80}"
    elif odd:
        wrong = f"files: expected files of an assignment, found {odd[0]!r:.80}"
    elif not 0 < len(names) <= MAX_FILES or len({name.lower() for name in names}) < len(names):
        wrong = f"files: expected 1 to {MAX_FILES} different names, found {len(names)}"
    if wrong:
        raise UsageError(f"{where}: {wrong}", hint=_AGAIN)


def _is_address(given: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", given) is not None


def _require_https(address: str) -> None:
    if urlsplit(address).scheme != "https":
        raise UsageError(
            f"{address}: expected an address that begins with https://",
            hint="on the way of other addresses anybody can exchange the bundle; download it with "
            "your browser, and give the file",
        )


def _download(address: str) -> bytes:
    """Return what an https address gives, or the file that a file: address names.

    Raises:
        UsageError: if it is another kind of address, cannot be had, or is too large.
    """
    parts = urlsplit(address)
    if parts.scheme == "file":
        path = Path(urllib.request.url2pathname(parts.path))
        if parts.netloc not in ("", "localhost") or not path.is_file():
            raise UsageError(f"{address}: not found", hint="give the path of the zip")
        with path.open("rb") as file:
            content = file.read(MAX_BUNDLE_BYTES + 1)
    else:
        _require_https(address)
        content = _fetch(address)
    if len(content) > MAX_BUNDLE_BYTES:
        limit = f"{MAX_BUNDLE_BYTES // MIB} MiB"
        raise UsageError(f"{address}: larger than a bundle may be ({limit})", hint=_AGAIN)
    if content.lstrip()[:1] == b"<":
        raise UsageError(
            f"{address}: gave a web page, not a bundle",
            hint="if it needs a login, download the zip with your browser, and give the file",
        )
    return content


def _fetch(address: str) -> bytes:
    opener = urllib.request.OpenerDirector()  # knows https alone, in redirects, too
    for handler in _HTTPS_HANDLERS:
        opener.add_handler(handler())
    by_hand = "download the zip with your browser, and give the file"
    try:
        with opener.open(address, timeout=PATIENCE_S) as reply:
            content: bytes = reply.read(MAX_BUNDLE_BYTES + 1)
    except urllib.error.HTTPError as error:
        why = f"{address}: the server answered {error.code} {error.reason}"
        raise UsageError(why, hint=f"check the address; if it needs a login, {by_hand}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        raise UsageError(f"{address}: cannot be read: {reason}", hint=by_hand) from error
    return content
