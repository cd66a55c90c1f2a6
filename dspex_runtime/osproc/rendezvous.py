"""Where runtimes live and how they are found: <dir>/<name>.sock to connect to, <dir>/<name>.lock held while one runs.

The lock, not the socket file, says whether a runtime lives: the kernel drops it however the runtime ends, a socket file stays.
The lock file holds the pid and, on a second line, a temporary folder that goes with the runtime. What one that was killed has
left there is cleared away by the next that starts, whatever its name.
Never talks to a runtime.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import stat
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dspex_runtime.errors import ConfigError

__all__ = ["Claim", "claim", "list_running", "listen", "runtime_dir", "socket_path", "sweep"]

MAX_PATH_BYTES: Final = 107  # sun_path is 108 bytes with its closing zero
BACKLOG: Final = 512
NOTE_BYTES: Final = 8192  # pid and path
SWEEP_S: Final = 2.0  # how long a start waits for whoever clears its dead predecessor away
SWEEP_PAUSE_S: Final = 0.02
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def runtime_dir() -> Path:
    """Return the folder of this user's runtimes, made if need be: $DSPEX_RUNTIME_DIR, $XDG_RUNTIME_DIR/dspex or /tmp/dspex-<uid>.

    Raises:
        ConfigError: It cannot be made or written, is not ours, or others may write to it: a socket in it could be anybody's.
    """
    path = _choose_dir()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = os.lstat(path) if path.parent == Path("/tmp") else os.stat(path)  # noqa: S108 - a link in /tmp is a trap
    except OSError as exc:
        raise _bad_dir(path, f"cannot be made: {exc.strerror}") from exc
    if not stat.S_ISDIR(facts.st_mode):
        raise _bad_dir(path, "is not a directory")
    if facts.st_uid != os.geteuid():
        raise _bad_dir(path, f"belongs to uid {facts.st_uid}, not to uid {os.geteuid()}")
    if facts.st_mode & 0o022:
        raise _bad_dir(path, f"may be written by others (mode {stat.S_IMODE(facts.st_mode):o}); chmod 700 it")
    if not os.access(path, os.W_OK | os.X_OK):
        raise _bad_dir(path, "is not writable")
    return path


def socket_path(name: str) -> str:
    """Return the socket path of the runtime `name`, running or not.

    Raises:
        ConfigError: The name is not usable in a path, or the path is longer than a socket address holds.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"runtime name {name!r}: expected 1 to 64 letters, digits, '_', '.' or '-', not starting with '.' or '-'")
    path = str(runtime_dir() / f"{name}.sock")
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise ConfigError(
            f"socket path {path!r} is {size} bytes long, a Unix socket takes {MAX_PATH_BYTES}",
            hint="set DSPEX_RUNTIME_DIR to a shorter folder, or use a shorter name",
        )
    return path


@dataclass(slots=True, eq=False)
class Claim:
    """The right to be the runtime `name`, held until `release` or the end of the process. Not inherited by an exec."""

    name: str
    path: str
    lock_fd: int

    def takes_along(self, folder: Path) -> None:
        """Note a temporary folder: whoever clears this runtime away, should it be killed, removes that, too."""
        os.pwrite(self.lock_fd, b"%d\n%s\n" % (os.getpid(), os.fsencode(folder)), 0)

    def release(self) -> None:
        """Remove the socket and the lock file, and give the name up. Idempotent."""
        if self.lock_fd < 0:
            return
        _unlink(self.path)
        _unlink(_lock_path(self.path))  # while we hold it; whoever opened it meanwhile finds out in `_locked`
        os.close(self.lock_fd)
        self.lock_fd = -1


def claim(name: str) -> Claim:
    """Take a name for this process and clear away what dead runtimes have left, of this name and of others.

    Raises:
        ConfigError: The name is taken (the message has the holder's pid), or see `socket_path`.
    """
    path = socket_path(name)
    lock_fd = _lock(name, path)
    _sweep_others(Path(_lock_path(path)))
    return Claim(name, path, lock_fd)


def _lock(name: str, path: str) -> int:
    lock_path = _lock_path(path)
    patience_s = SWEEP_S
    while True:
        try:
            lock_fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise ConfigError(f"runtime {name!r}: cannot open {lock_path}: {exc.strerror}") from exc
        try:
            if _locked(lock_fd, lock_path, name, path):
                return lock_fd
        except _BeingSweptError as exc:
            if patience_s <= 0:
                os.close(lock_fd)
                raise exc.refusal from None
            time.sleep(SWEEP_PAUSE_S)
            patience_s -= SWEEP_PAUSE_S
        os.close(lock_fd)


class _BeingSweptError(Exception):
    """The lock is held, and not by the runtime that the file names: somebody clears that one away. `refusal` if it lasts."""

    def __init__(self, refusal: ConfigError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def _sweep_others(own_lock: Path) -> None:
    """Remove what killed runtimes have left: their lock, socket and temporary folder. Nothing of one that lives or starts."""
    for lock_path in own_lock.parent.glob("*.lock"):
        if lock_path == own_lock or _is_locked(str(lock_path)):
            continue
        try:
            fd = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
            if _is_at(fd, str(lock_path)):
                _remove_noted(fd)
                _unlink(str(lock_path.with_suffix(".sock")))
                _unlink(str(lock_path))
        except OSError:
            pass  # it was started in this moment, or is not ours to remove
        finally:
            os.close(fd)


def _remove_noted(lock_fd: int) -> None:
    """Remove the temporary folder of a dead runtime whose lock file we hold."""
    _, _, note = os.pread(lock_fd, NOTE_BYTES, 0).partition(b"\n")
    folder = os.fsdecode(note.rstrip(b"\n"))
    if os.path.isabs(folder) and os.path.basename(folder).startswith("dspex-"):
        shutil.rmtree(folder, ignore_errors=True)


def sweep(name: str) -> None:
    """Remove the socket and the lock file of a runtime that was killed; one that lives, or was started since, is left alone."""
    try:
        claim(name).release()
    except ConfigError:
        return


def _locked(lock_fd: int, lock_path: str, name: str, path: str) -> bool:
    """Lock the file for us; False when its last holder removed it between our open and our lock: two files, two runtimes."""
    try:
        fcntl.fcntl(lock_fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
        if not _is_at(lock_fd, lock_path):
            return False
        _remove_noted(lock_fd)
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, b"%d\n" % os.getpid(), 0)
        _unlink(path)
    except BlockingIOError as exc:
        holder = _holder(lock_fd)
        refusal = ConfigError(
            f"a runtime named {name!r} is already running (pid {holder or 'unknown'}, {path})",
            hint=f"`dspex --runtime {name} down` stops it; or choose another name",
        )
        if holder is None or not _lives(holder):
            raise _BeingSweptError(refusal) from exc
        os.close(lock_fd)
        raise refusal from exc
    except OSError as exc:
        os.close(lock_fd)
        raise ConfigError(f"runtime {name!r}: cannot take {lock_path}: {exc.strerror}") from exc
    return True


def listen(claim: Claim) -> socket.socket:
    """Return a listening socket at the claim's path; only this user may connect.

    Raises:
        ConfigError: The socket cannot be made there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode is set by the umask while it is bound: a chmod afterwards would leave a moment open to others.
    umask = os.umask(0o177)
    try:
        sock.bind(claim.path)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise ConfigError(f"runtime {claim.name!r}: cannot listen at {claim.path}: {exc.strerror}") from exc
    finally:
        os.umask(umask)
    return sock


def list_running() -> list[tuple[str, str]]:
    """Return (name, socket path) of this user's running runtimes, by name. Changes nothing, not even what is stale."""
    try:
        found = sorted(runtime_dir().glob("*.sock"))
    except ConfigError:
        return []  # no usable folder: nothing of ours runs there
    return [(path.stem, str(path)) for path in found if _is_locked(_lock_path(str(path)))]


def _choose_dir() -> Path:
    if own := os.environ.get("DSPEX_RUNTIME_DIR"):
        return Path(own).absolute()
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(user).absolute() / "dspex"
    return Path(f"/tmp/dspex-{os.geteuid()}")  # noqa: S108 - owner and mode are checked


def _bad_dir(path: Path, why: str) -> ConfigError:
    return ConfigError(f"the folder of runtimes {path} {why}", hint="set DSPEX_RUNTIME_DIR to a folder of your own")


def _lock_path(path: str) -> str:
    return path.removesuffix(".sock") + ".lock"


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _is_locked(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Asked, not tried: a lock taken for a moment to look would make a runtime that starts in that moment fail.
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_RDLCK))
    finally:
        os.close(fd)
    return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)


def _flock(kind: int) -> bytes:
    """Return a struct flock over a whole file: type, whence, start, length, pid."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def _holder(lock_fd: int) -> int | None:
    try:
        return int(os.pread(lock_fd, 32, 0).partition(b"\n")[0])
    except ValueError:
        return None  # it has the lock and has not written yet


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
