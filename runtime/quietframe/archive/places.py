"""Where an archive's files lie and where results go: folders, and object stores by pyarrow.

A file is stated by its store, "" or `s3://bucket`, and its path there, so that names with any characters reach it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from quietframe.errors import MissingExtraError, OutputError, OutputExistsError, SourceError
from quietframe.images import IMAGE_SUFFIXES, move_into_place, write_whole
from quietframe.sinks.base import check_folder, make_folder
from quietframe.sources.address import as_shown, is_network
from quietframe.sources.images import files_below, is_wanted

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
"""File names that an archive is searched for beside those of images, in lower case."""

STDIN = "-"
LIST_SUFFIX = ".txt"


class Item(NamedTuple):
    """One file of an archive.

    Attributes:
        store: "" for a file of this machine, or the address of its store, as `s3://bucket`.
        path: its absolute path, or its path in the store.
        name: its place below the folder of the results, before its suffix may change.
    """

    store: str
    path: str
    name: str

    @property
    def shown(self) -> str:
        """The file as messages name it: without a password."""
        return f"{as_shown(self.store).partition('?')[0].rstrip('/')}/{self.path}" if self.store else self.path


def find(source: str) -> tuple[list[Item], list[str]]:
    """The images and videos of a folder, a list (.txt, or - for standard input) or an address, and what was unreadable.

    Raises:
        SourceError: there is no such thing, it holds none, or a line of a list cannot have a place among the results.
    """
    failures: list[str] = []
    if source == STDIN or source.lower().endswith(LIST_SUFFIX):
        items = _listed(source)
    elif is_network(source):
        items = _stored(source)
    elif Path(source).is_dir():
        folder = Path(source).absolute()
        files, failures = files_below(folder, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
        items = [Item("", str(file), file.relative_to(folder).as_posix()) for file in files]
    else:
        raise SourceError(
            f"{source}: expected a folder, a list of files (NAME{LIST_SUFFIX}, or -) or an address such as s3://bucket"
        )
    if not items:
        raise SourceError(failures[0] if failures else f"{as_shown(source)}: no images and no videos there")
    return items, failures


def _listed(source: str) -> list[Item]:
    """The files of a list, one a line: they keep the path that stands there, absolute ones and addresses as well."""
    if source == STDIN:
        text, base = sys.stdin.buffer.read(), Path.cwd()
    elif is_network(source):
        store, path = split(source)
        text, base = _read(store, path), Path.cwd()
    else:
        try:
            text, base = Path(source).read_bytes(), Path(source).absolute().parent
        except OSError as exc:
            raise SourceError(f"{source}: cannot be read ({exc.strerror or exc})") from exc
    items = []
    for line in filter(None, map(os.fsdecode, text.splitlines())):
        if is_network(line):
            store, path = split(line)
            item = Item(store, path, f"{urlsplit(store).hostname or ''}/{path}")
        else:
            item = Item("", str(base / line), line.lstrip("/"))
        if ".." in PurePosixPath(item.name).parts:
            raise SourceError(f"{item.shown}: its result would lie outside of the folder: state it without '..'")
        items.append(item)
    return items


def _stored(address: str) -> list[Item]:
    """All images and videos below an address, sorted; hidden ones left out."""
    from pyarrow.fs import FileSelector, FileType

    store, path = split(address)
    filesystem, root = open_store(store)
    top = f"{root}/{path}".rstrip("/")
    try:
        found = filesystem.get_file_info(FileSelector(top, recursive=True))
    except OSError as exc:
        raise SourceError(f"{as_shown(address)}: cannot be read ({_reason(exc)})") from exc
    names = sorted(info.path.removeprefix(f"{top}/") for info in found if info.type == FileType.File)
    prefix = f"{path.rstrip('/')}/" if path.rstrip("/") else ""
    return [
        Item(store, prefix + name, name)
        for name in names
        if not any(part.startswith(".") for part in name.split("/"))
        and is_wanted(name.rpartition("/")[2], IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    ]


def split(address: str) -> tuple[str, str]:
    """The store of an address, with its settings behind `?`, and the path in it."""
    base, mark, settings = address.partition("?")
    scheme, _, rest = base.partition("://")
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}{mark}{settings}", path


@lru_cache(maxsize=64)
def open_store(store: str) -> tuple[Any, str]:
    """The file system of a store, and what its paths begin with there. Raises SourceError."""
    try:
        from pyarrow.fs import FileSystem
    except ImportError as exc:
        raise MissingExtraError("pyarrow", "ray") from exc
    address = store
    if store.startswith("s3:") and "allow_delayed_open" not in store:
        address += f"{'&' if '?' in store else '?'}allow_delayed_open=true"  # a small object is one request, not three
    try:
        filesystem, root = FileSystem.from_uri(address)
    except (OSError, ValueError) as exc:
        raise SourceError(f"{as_shown(store)}: no store that pyarrow opens ({_reason(exc)})") from exc
    return filesystem, root.rstrip("/")


def _read(store: str, path: str) -> bytes:
    filesystem, root = open_store(store)
    try:
        with filesystem.open_input_stream(f"{root}/{path}") as file:
            return file.read()
    except OSError as exc:
        raise SourceError(f"{Item(store, path, '').shown}: cannot be read ({_reason(exc)})") from exc


@contextmanager
def local_copy(item: Item) -> Iterator[Path]:
    """A file of this machine with the content of an item: itself, or a copy for as long. Raises SourceError."""
    if not item.store:
        yield Path(item.path)
        return
    from pyarrow.fs import LocalFileSystem, copy_files

    filesystem, root = open_store(item.store)
    with tempfile.TemporaryDirectory(prefix="quietframe-") as folder:
        copy = Path(folder, f"frame{PurePosixPath(item.path).suffix}")
        try:
            copy_files(f"{root}/{item.path}", str(copy), filesystem, LocalFileSystem())
        except OSError as exc:
            raise SourceError(f"{item.shown}: cannot be read ({_reason(exc)})") from exc
        yield copy


class Results(ABC):
    """The folder of the results. A result is made in `scratch` and then given its name, whole.

    Attributes:
        scratch: a folder of this machine for results in the making.
    """

    scratch: Path

    def __init__(self, out: str) -> None:
        self.out = out

    @abstractmethod
    def lies_in(self, source: str) -> bool:
        """Whether it is a folder or address that is searched, or below it."""

    @abstractmethod
    def is_source(self, item: Item) -> bool:
        """Whether an item and its result, which is there, are one file."""

    @abstractmethod
    def existing(self, names: list[str]) -> set[str]:
        """Those of the names that are there. Raises OutputError if nothing can be written there."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether a result is there."""

    @abstractmethod
    def publish(self, part: Path, name: str, *, overwrite: bool) -> None:
        """Give a finished file its name. Raises OutputError; OutputExistsError if the name is taken."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a small file in place of one that is there; nothing if it is empty. Raises OutputError."""

    def clear(self) -> None:
        """Remove what workers that were killed have left."""
        shutil.rmtree(self.scratch, ignore_errors=True)


class Folder(Results):
    """A folder of this machine, or one that all machines share."""

    def __init__(self, out: str, run: str) -> None:
        super().__init__(out)
        self._root = Path(out)
        self.scratch = self._root / f".quietframe-{run}"  # on the same file system: results are renamed

    def lies_in(self, source: str) -> bool:
        """See `Results`."""
        return Path(source).is_dir() and Path(source).resolve() in (self._root / "x").resolve().parents

    def is_source(self, item: Item) -> bool:
        """See `Results`."""
        path = self._root / item.name
        return not item.store and path.exists() and Path(item.path).exists() and path.samefile(item.path)

    def existing(self, names: list[str]) -> set[str]:
        """See `Results`."""
        if self._root.exists() and not self._root.is_dir():
            raise OutputError(f"{self.out}: is a file, expected a folder")
        check_folder(self._root)
        return {name for name in names if os.path.lexists(self._root / name)}

    def has(self, name: str) -> bool:
        """See `Results`."""
        return (self._root / name).exists()

    def publish(self, part: Path, name: str, *, overwrite: bool) -> None:
        """See `Results`."""
        path = self._root / name
        make_folder(path.parent)
        try:
            move_into_place(part, path, overwrite=overwrite)
        except OSError as exc:
            raise OutputError(f"{path}: cannot be written ({exc.strerror or exc})") from exc

    def write(self, name: str, data: bytes) -> None:
        """See `Results`."""
        if data:
            make_folder(self._root)
            write_whole(self._root / name, data)
        else:
            with contextlib.suppress(OSError):
                (self._root / name).unlink()


class Stored(Results):
    """A place in an object store: an object appears there when it is complete.

    Of two runs that write one object at once the later wins, as stores know no other way.
    """

    def __init__(self, out: str, run: str) -> None:
        super().__init__(out)
        store, path = split(out)
        self._filesystem, root = open_store(store)
        self._root = f"{root}/{path}".rstrip("/")
        self.scratch = Path(tempfile.gettempdir(), f"quietframe-{run}")

    def lies_in(self, source: str) -> bool:
        """See `Results`."""
        if not is_network(source) or source.lower().endswith(LIST_SUFFIX):
            return False
        store, path = split(source)
        return f"{self._root}/".startswith(f"{open_store(store)[1]}/{path}".rstrip("/") + "/")

    def is_source(self, item: Item) -> bool:
        """See `Results`."""
        return bool(item.store) and f"{open_store(item.store)[1]}/{item.path}" == f"{self._root}/{item.name}"

    def existing(self, names: list[str]) -> set[str]:
        """See `Results`."""
        from pyarrow.fs import FileSelector

        try:
            found = self._filesystem.get_file_info(FileSelector(self._root, recursive=True, allow_not_found=True))
        except OSError as exc:
            raise OutputError(f"{as_shown(self.out)}: cannot be written ({_reason(exc)})") from exc
        return {info.path.removeprefix(f"{self._root}/") for info in found} & set(names)

    def has(self, name: str) -> bool:
        """See `Results`."""
        from pyarrow.fs import FileType

        return bool(self._filesystem.get_file_info(f"{self._root}/{name}").type == FileType.File)

    def publish(self, part: Path, name: str, *, overwrite: bool) -> None:
        """See `Results`."""
        from pyarrow.fs import LocalFileSystem, copy_files

        if not overwrite and self.has(name):
            raise OutputExistsError(f"{self._shown(name)}: exists already: pass --overwrite to replace it")
        try:
            copy_files(str(part), f"{self._root}/{name}", LocalFileSystem(), self._filesystem)
        except OSError as exc:
            raise OutputError(f"{self._shown(name)}: cannot be written ({_reason(exc)})") from exc

    def write(self, name: str, data: bytes) -> None:
        """See `Results`."""
        path = f"{self._root}/{name}"
        try:
            if data:
                with self._filesystem.open_output_stream(path) as file:
                    file.write(data)
            elif self.has(name):
                self._filesystem.delete_file(path)
        except OSError as exc:
            raise OutputError(f"{self._shown(name)}: cannot be written ({_reason(exc)})") from exc

    def _shown(self, name: str) -> str:
        return f"{as_shown(self.out).partition('?')[0].rstrip('/')}/{name}"


def results(out: str, run: str) -> Results:
    """The folder or the place in a store of that name. run: what tells this run from others."""
    return Stored(out, run) if is_network(out) else Folder(out, run)


def _reason(exc: Exception) -> str:
    return " ".join(str(exc).split())
