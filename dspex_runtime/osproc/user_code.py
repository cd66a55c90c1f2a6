"""Imports of the user's own files: from the text they have now, or from one that was given; what was read is remembered.

Python knows the bytecode of a file by the second of its change and its size. An edit within that second, or a file put in the
place of another, would leave the old code running in every new process. Here a file is always read, and its bytecode is taken only
if it says that it was made of this very text (PEP 552: the hash is in it); bytecode by time is made anew, once. Ordinary Python
reads and keeps such bytecode too.

The user's own: what is in no site-packages (or dist-packages), not in Python's library and not in this package. Nothing
changes for any other file. Installed in the zygote before it imports anything of a user; every fork has it then.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import decode_source, source_hash, spec_from_file_location
from types import ModuleType
from typing import Any, Final, NamedTuple

from dspex_runtime.core.child_spec import GIVEN

__all__ = ["Read", "UserLoader", "finder_of", "finders", "given", "install", "is_installed", "is_users", "loaded"]


class Read(NamedTuple):
    """A text that a module was made of."""

    path: str
    mtime_ns: int  #: of the file when it was opened; GIVEN: it did not come from the disk
    size: int  #: in bytes, of what was read
    hash: bytes  #: `importlib.util.source_hash` of it
    ctime_ns: int  #: tells a file from another that was put in its place with the same times


loaded: Final[dict[str, Read]] = {}  #: by the name of the module, in the order of the imports
given: Final[dict[str, bytes]] = {}  #: texts that stand for what the disk has under these paths
finders: Final[list[FileFinder]] = []  #: one of each folder of the user's that was looked into

_LIBRARIES: Final = {"site-packages", "dist-packages"}
_OTHERS: Final = (f"{os.path.dirname(os.__file__)}/", f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/")
_CHECKED_HASH: Final = (0b11).to_bytes(4, "little")  # flags in the header of a bytecode file: magic, flags, hash
_BY_TIME: Final = bytes(4)
_HEADER: Final = 16


def is_users(folder: str) -> bool:
    """Return whether what is in a folder is the user's own."""
    return _LIBRARIES.isdisjoint(folder.split(os.sep)) and not f"{folder}/".startswith(_OTHERS)


def is_installed() -> bool:
    """Return whether this process imports the user's own files this way."""
    return _hook in sys.path_hooks


def install() -> None:
    """Import the user's own files this way from now on. Doing it again does nothing."""
    if is_installed():
        return
    sys.path_hooks.insert(0, _hook)
    at = sys.meta_path.index(PathFinder) + 1 if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(at, _Further)
    for folder in [folder for folder in sys.path_importer_cache if is_users(folder)]:
        del sys.path_importer_cache[folder]


class UserLoader(SourceFileLoader):
    """Loads one file of the user's. The steps are Python's own, whose frames no traceback shows; here is what they are given."""

    _text: bytes | None = None
    _hash = b""

    def path_stats(self, path: Any) -> dict[str, Any]:
        """Read the text, and tell the times of the file; of a given text there are none, which is: no bytecode."""
        text = given.get(path)
        if text is not None:
            loaded[self.name] = Read(path, GIVEN, len(text), source_hash(text), GIVEN)
            # Without a time it is not compared with the file, so that tracebacks and `inspect` show what runs.
            linecache.cache[path] = (len(text), None, _decoded(text).splitlines(keepends=True), path)
            raise FileNotFoundError(path)
        with open(path, "rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            self._text = file.readall()
        self._hash = source_hash(self._text)
        loaded[self.name] = Read(path, info.st_mtime_ns, len(self._text), self._hash, info.st_ctime_ns)
        return {"mtime": info.st_mtime, "size": info.st_size}

    def get_data(self, path: str) -> bytes:
        """Return the text, the bytecode made of such a text, or whatever lies beside it."""
        if path == self.path:
            text, self._text = self._text, None
            if text is None:
                text = given.get(path)
            return super().get_data(path) if text is None else text
        data = super().get_data(path)
        if self._text is None or not path.endswith(tuple(BYTECODE_SUFFIXES)):
            return data
        flags = data[4:8]
        if flags == _BY_TIME:
            if os.access(os.path.dirname(path), os.W_OK):
                raise FileNotFoundError(path)  # it cannot be told whether it was made of this text
            self._text = None  # an installation that nobody here can change, nor keep anything better in
        elif flags != _CHECKED_HASH:
            data = data[:4] + _CHECKED_HASH + data[8:]
        return data

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Keep bytecode, by the hash of what it was made of."""
        if bytes(data[4:8]) == _BY_TIME:
            data = bytes(data[:4]) + _CHECKED_HASH + self._hash + bytes(data[_HEADER:])
        super().set_data(path, data, _mode=_mode)


_LOADERS: Final[tuple[tuple[Any, list[str]], ...]] = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (UserLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


class _UserFinder(FileFinder):
    """Looks into one folder of the user's, where given texts come before files."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        if not given:
            return super().find_spec(fullname, target)
        base = os.path.join(self.path, fullname.rpartition(".")[2])
        for path, inside in ((os.path.join(base, "__init__.py"), [base]), (f"{base}.py", None)):
            if path in given:
                return spec_from_file_location(fullname, path, loader=UserLoader(fullname, path), submodule_search_locations=inside)
        found = super().find_spec(fullname, target)
        if found is None and _holds_given(base):  # a package without an __init__.py whose folder is gone
            found = ModuleSpec(fullname, None, is_package=True)
            found.submodule_search_locations = [base]
        return found


class _Further:
    """Asks what comes after the ordinary search (finders of editable installs); what is found so may be the user's too."""

    @classmethod
    def find_spec(cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        for finder in sys.meta_path[sys.meta_path.index(cls) + 1 :]:
            spec = finder.find_spec(fullname, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                if type(spec.loader) is SourceFileLoader and spec.origin and is_users(os.path.dirname(spec.origin)):
                    spec.loader = UserLoader(spec.name, spec.origin)
                return spec
        return None


def finder_of(folder: str) -> FileFinder:
    """Return what looks into a folder as into one of the user's."""
    return _UserFinder(folder, *_LOADERS)


def _hook(folder: str) -> FileFinder:
    if not is_users(folder) or not (os.path.isdir(folder) or _holds_given(folder)):
        raise ImportError("not a folder of the user's own", path=folder)
    finder = finder_of(folder)
    finders.append(finder)
    return finder


def _holds_given(folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in given)


def _decoded(text: bytes) -> str:
    try:
        return decode_source(text)
    except (SyntaxError, UnicodeDecodeError):  # which the compiler will say
        return text.decode(errors="replace")
