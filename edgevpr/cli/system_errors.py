"""Sentences for what the operating system refuses: full disks, closed folders, too many files."""

import errno
import os

#: Error numbers, exit code and sentence; {} is the file, or "the output" where none is named.
_TABLE: tuple[tuple[tuple[int, ...], int, str], ...] = (
    (
        (errno.ENOSPC, errno.EDQUOT), 7,
        "found no space left on the disk of {}: free some, run the command again",
    ),
    (
        (errno.EACCES, errno.EROFS, errno.EPERM), 7,
        "found {} closed to this user, expected access: choose another --output",
    ),
    (
        (errno.EFBIG,), 7,
        "found {} at the largest size that its file system or ulimit -f allows, expected room: "
        "write to another disk, or raise the limit",
    ),
    (
        (errno.EMFILE, errno.ENFILE), 7,
        "found too many open files to open {}, expected some left: raise the limit with "
        "ulimit -n 4096",
    ),
    (
        (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.EHOSTDOWN,
         errno.EREMOTEIO), 7,
        "found a disk or device that failed at {}, expected it to answer: check its cable or "
        "mount, and dmesg",
    ),
    (
        (errno.EBADF,), 7,
        "found {} closed, expected it open: leave out the redirection that closes it",
    ),
    (
        (errno.ENAMETOOLONG,), 2,
        "found {}, a name too long for its file system, expected at most 255 bytes: choose a "
        "shorter one",
    ),
    ((errno.ELOOP,), 2, "found links in a circle at {}, expected a file or folder: correct them"),
    (
        (errno.ENOTDIR, errno.EEXIST), 2,
        "found a file where a folder is expected at {}: correct the path",
    ),
    ((errno.EISDIR,), 2, "found the folder {}, expected a file: correct the path"),
    ((errno.ENOENT,), 2, "found nothing at {}, expected a file or folder: check the path"),
)  # fmt: skip
_SENTENCES = {number: (code, sentence) for numbers, code, sentence in _TABLE for number in numbers}
#: These say nothing without a name.
_NEED_A_NAME = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENXIO, errno.ENODEV)


def system_sentence(error: OSError) -> tuple[int, str] | None:
    """Exit code and sentence, or None for an error that is none of the user's surroundings."""
    if error.errno not in _SENTENCES:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if not name and error.errno in _NEED_A_NAME:
        return None
    code, sentence = _SENTENCES[error.errno]
    return code, sentence.format(_short(name) or "the output")


def _short(name: str) -> str:
    """A file's name, its middle left out where it would fill the screen."""
    return name if len(name) <= 200 else f"{name[:100]}...{name[-60:]}"
