"""Writing results so that nothing half-written is ever seen: beside the target first, then moved into place."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from ..errors import InputError

GENERATOR = f"fishergeo {__version__}"
RESULTS = "results.json"


def check_folder(target: Path) -> None:
    """Raise `InputError` unless ``target`` may be (re)placed: it is new, empty, or a report and nothing else."""
    _check_parent(target)
    if target.is_symlink():
        raise InputError(f"{target} is a link: name the folder itself (-o)")
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file: choose another name for the output folder (-o)")
    present = {entry.name for entry in target.iterdir()}
    foreign = sorted(present - _files(target))
    if foreign:
        raise InputError(f"{target} holds {foreign[0]!r}, which no report wrote: choose another output folder (-o)")


def _files(folder: Path) -> set[str]:
    """The files of the report in ``folder``, as its results.json lists them."""
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return set(results["files"]) if str(results["generator"]).startswith("fishergeo ") else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def check_file(target: Path, suffixes: tuple[str, ...]) -> None:
    """Raise `InputError` unless ``target`` can be written and has one of ``suffixes``."""
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{target} has the suffix {target.suffix!r}: give one of {', '.join(suffixes)}")
    _check_parent(target)
    if target.exists() and not target.is_file():
        raise InputError(f"{target} is {'a folder' if target.is_dir() else 'not a regular file'}: give a file name")


def _check_parent(target: Path) -> None:
    parent = target.parent
    if not target.name:
        raise InputError(f"the output {str(target)!r} has no name: give the name of what to make (-o)")
    if not parent.is_dir():
        if parent.exists():
            raise InputError(f"{parent} is a file, not a folder: choose another output (-o)")
        raise InputError(f"the folder {parent} does not exist: create it, or choose another output (-o)")
    try:
        with tempfile.TemporaryFile(dir=parent):  # permission bits do not tell what a file system allows
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError(f"nothing can be written to the folder {parent} ({why}): choose another output (-o)") from None


@contextlib.contextmanager
def folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place at the end; removed if anything goes wrong."""
    check_folder(target)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        work.chmod(0o777 & ~_umask())
        yield work
        check_folder(target)  # again: someone may have put something there meanwhile
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.replace(old)
            try:
                work.replace(target)
            except BaseException:
                old.replace(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def file(target: Path) -> Iterator[Path]:
    """A temporary file beside ``target``, with its suffix, that takes its place at the end."""
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    work = Path(name)
    try:
        work.chmod(0o666 & ~_umask())
        yield work
        work.replace(target)
    finally:
        work.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
