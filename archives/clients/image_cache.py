"""A directory of images that archives sent before viewers asked for them.

Processes share it: one retrieves a series and others serve from it. Nothing in it is
needed for long, or can't be retrieved again. Names are digests, so that they tell nothing
about patients; files belong to the hub's user alone. What a killed process left behind
is recognised by its lock, which ended with it, and removed by the next ``purge``.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

PIECE: Final = 1 << 20
# Of a file at once, which holds up the event loop for less than the request itself does:
# an image of 512 x 512 pixels with all that comes before them.
_READ: Final = 640 * 1024
# What a file takes besides its bytes: many small ones fill a disk, too.
FILE: Final = 4096
# A series counts as requested for so long after the last ``request``.
_REQUEST_SECONDS: Final = 30.0
_PARTS_AT_ONCE: Final = 1024  # IOV_MAX of Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCache:
    """``maximum_bytes`` on disk, each image for ``maximum_age`` seconds at most."""

    directory: Path
    maximum_bytes: int = 2 << 30
    maximum_age: float = 900.0

    def series(self, owner: str, series_instance_uid: str) -> CachedSeries:
        """A series of the archive that ``owner`` stands for."""
        return CachedSeries(self.directory, _digest(f"{owner}\n{series_instance_uid}"))

    def purge(self) -> None:
        """Remove what is too old or too much, the oldest first, and leftovers."""
        now, total, images = time.time(), 0, []
        for path, status in _entries(self.directory):
            is_old = now - status.st_mtime > self.maximum_age
            if path.suffix == ".part":
                self._remove_leftover(path)
                total += status.st_size + FILE
            elif path.suffix == ".dcm" and not is_old:
                size = status.st_size + FILE
                images.append((status.st_mtime, size, path))
                total += size
            elif path.suffix == ".lock" and is_old:
                _remove_unlocked(path)
            elif is_old:
                path.unlink(missing_ok=True)
        for _, size, path in sorted(images):
            if total <= self.maximum_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    def discard(self, keys: Collection[str]) -> None:
        """Remove series by their keys; of those that just arrive, what comes of them."""
        for key in keys:
            CachedSeries(self.directory, key).end()
        ended = set(keys)
        for path, _ in _entries(self.directory) if ended else ():
            key, _, _ = path.name.partition("-")
            if path.suffix == ".dcm" and key in ended:
                path.unlink(missing_ok=True)

    def _remove_leftover(self, path: Path) -> None:
        key, _, _ = path.name.partition("-")
        lock = CachedSeries(self.directory, key).lock()
        if lock is not None:
            with lock:
                _discard(path)


def new_file(directory: Path) -> tuple[Path, int]:
    """A file that nobody looks for, to be adopted by a series or removed."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(".incoming", dir=directory)  # mode 0600
    return Path(name), descriptor


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _entries(directory: Path) -> Iterable[tuple[Path, os.stat_result]]:
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process purges, too
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _remove_unlocked(path: Path) -> None:
    lock = Lock.acquire(path)
    if lock is not None:
        with lock:
            path.unlink(missing_ok=True)


def _discard(path: Path) -> None:
    """Empty it before it goes: who reads it meanwhile must not take it for whole."""
    with suppress(FileNotFoundError):
        os.truncate(path, 0)
        path.unlink()


class Lock:
    """Held by one process at a time, and never by one that has ended."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Lock | None:
        """``None`` if somebody else has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a purge may have removed the file between the two calls
            if os.fstat(descriptor).st_nlink:
                return cls(descriptor)
        except BlockingIOError:
            pass
        os.close(descriptor)
        return None

    def release(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class CachedSeries:
    """The images of one series that are there, and the one that arrives."""

    directory: Path
    key: str

    def has(self, sop_instance_uid: str) -> bool:
        return self._path(sop_instance_uid).exists()

    def open(self, sop_instance_uid: str) -> CachedImage | None:
        """An image that is there, or one of which a good part is."""
        path = self._path(sop_instance_uid)
        for is_whole in (True, False, True):  # it may become so between two looks
            candidate = path if is_whole else path.with_suffix(".part")
            try:
                descriptor = os.open(candidate, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            image = CachedImage(path, descriptor, is_whole=is_whole)
            if is_whole or image.size >= PIECE:
                return image
            image.close()
        return None

    def create(self, sop_instance_uid: str) -> ArrivingImage:
        return ArrivingImage(self._path(sop_instance_uid))

    def adopt(self, path: Path, sop_instance_uid: str) -> None:
        """Make a whole file of the same file system an image of the series."""
        os.replace(path, self._path(sop_instance_uid))

    def lock(self) -> Lock | None:
        """To be held while the series is retrieved; ``None`` if it is already."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Lock.acquire(self.directory / f"{self.key}.lock")

    def end(self) -> None:
        """Have who retrieves the series now, if anybody does, remove it afterwards."""
        if not (self.directory / f"{self.key}.lock").exists():
            return
        lock = self.lock()
        if lock is None:
            self._ended.touch(mode=0o600)
        else:
            lock.release()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """For the holder of the lock, while it retrieves the series."""
        self._ended.unlink(missing_ok=True)  # it is wanted again
        try:
            yield
        finally:
            if self._ended.exists():
                for path in self.directory.glob(f"{self.key}-*.dcm"):
                    path.unlink(missing_ok=True)
                self._ended.unlink(missing_ok=True)

    def request(self) -> None:
        """Say that images of this series are waited for; to be repeated meanwhile."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / f"{self.key}.wanted"
        path.touch(mode=0o600)

    def modified(self) -> int:
        """Changes when an image of any series arrives."""
        return self.directory.stat().st_mtime_ns

    @property
    def is_requested(self) -> bool:
        try:
            status = (self.directory / f"{self.key}.wanted").stat()
        except FileNotFoundError:
            return False
        return time.time() - status.st_mtime < _REQUEST_SECONDS

    @property
    def _ended(self) -> Path:
        return self.directory / f"{self.key}.ended"

    def _path(self, sop_instance_uid: str) -> Path:
        return self.directory / f"{self.key}-{_digest(sop_instance_uid)}.dcm"


class ArrivingImage:
    """A file that is written by who holds the lock of its series."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_suffix(".part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._partial, flags, 0o600)
        except FileExistsError:  # of a process that was killed
            _discard(self._partial)
            self._descriptor = os.open(self._partial, flags, 0o600)

    def write(self, *parts: bytes) -> None:
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            some = parts[start : start + _PARTS_AT_ONCE]
            written = os.writev(self._descriptor, some)
            if written < sum(map(len, some)):
                rest = memoryview(b"".join(some))[written:]
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        os.replace(self._partial, self._path)
        os.close(self._descriptor)

    def discard(self) -> None:
        _discard(self._partial)
        os.close(self._descriptor)


class _Buffer(threading.local):
    """Read into again and again: a new one would be filled with zeros each time."""

    def __init__(self) -> None:
        self.content = bytearray(_READ)


_buffer = _Buffer()


class CachedImage:
    """An open file; ``is_whole`` unless it still grows."""

    def __init__(self, path: Path, descriptor: int, *, is_whole: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self.is_whole = is_whole
        self._position = 0

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self) -> bytes:
        """The next piece; empty at the end, or where no more has arrived yet."""
        piece = os.pread(self._descriptor, self._next_size(), self._position)
        self._position += len(piece)
        return piece

    def read_from_memory(self) -> bytes:
        """The same without waiting for a disk: empty where that would be needed, too."""
        buffer = memoryview(_buffer.content)[: self._next_size()]
        try:
            read = os.preadv(self._descriptor, [buffer], self._position, os.RWF_NOWAIT)
        except (AttributeError, OSError):  # not every system and file system can
            return b""
        self._position += read
        return bytes(buffer[:read])

    def _next_size(self) -> int:
        return min(max(self.size - self._position, 0), _READ)

    @property
    def is_read(self) -> bool:
        """Whether this was the end."""
        return self.is_whole and self._position >= self.size

    def update(self) -> bool:
        """Whether the image still may become whole; false when its arrival failed."""
        status = os.fstat(self._descriptor)
        if status.st_size < self._position:
            return False
        with suppress(FileNotFoundError):
            self.is_whole = os.path.samestat(status, self._path.stat())
        if not status.st_nlink:  # whole, and purged since: a failed one is emptied
            self.is_whole = status.st_size > 0
            return self.is_whole
        return True

    def close(self) -> None:
        os.close(self._descriptor)
