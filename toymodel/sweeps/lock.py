"""One writer at a time: a lock that the system lets go when its process ends, however it ends.

It is ``flock`` on a file that is never deleted: two openings of one file exclude each other, in
one process as in two, and nothing stays behind a killed holder. Over NFS, Linux turns it into a
lock of the server's, which holds between machines if the mount allows locks; where it does not,
taking the lock fails with a message rather than going on without.
"""

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from toymodel._errors import InputError, refuse

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows)
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()  # descriptors of locks that this process holds


def _let_go() -> None:
    """A forked child shares its parent's lock and would keep it alive: close it there."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def exclusive(file: Path, what: Path) -> Iterator[None]:
    """Hold the lock.

    Args:
        file: the lock file; made if need be.
        what: what it stands for, named in messages.

    Raises:
        InputError: another writer holds it (who, and since when), or locks do not work here.
    """
    if fcntl is None:  # pragma: no cover  (Windows)
        raise InputError("store: this system has no file locks. To mend it: sweep without a store.")
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise refuse("path", str(what), f"a folder that can be written ({error})") from error
    _held.add(descriptor)
    try:
        _take(descriptor, file, what)
        with contextlib.suppress(OSError):  # on a full disk the lock is a lock all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _who_i_am(), 0)
        yield
    finally:
        if descriptor in _held:  # not so in a forked child, which closed it
            _held.discard(descriptor)
            os.close(descriptor)


def _take(descriptor: int, file: Path, what: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise refuse(
            "path",
            str(what),
            f"a store that nobody else writes; {_holder(descriptor)} writes this one",
            "wait until it is done, or stop it and run this again",
        ) from error
    except OSError as error:
        raise refuse(
            "path", str(what), f"a file system with locks ({error})", "use a local disk"
        ) from error
    opened = os.fstat(descriptor)
    current = os.stat(file) if file.exists() else None
    if current is None or (opened.st_dev, opened.st_ino) != (current.st_dev, current.st_ino):
        raise refuse("path", str(what), "a store that stays; it was just replaced", "try again")


def _who_i_am() -> bytes:
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _holder(descriptor: int) -> str:
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {who['pid']} on {who['host']}, since {who['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
