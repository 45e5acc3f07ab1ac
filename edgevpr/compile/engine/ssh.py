"""Connection to a board through the system's ssh and rsync, with the user's configuration."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from edgevpr.errors import MissingExtraError, TargetError, UsageError

#: Environment variable with the command to use instead of ``ssh``, with its options.
COMMAND = "EDGEVPR_SSH"
#: Never asks for a password; gives up on a board that is switched off.
OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10")

#: A sign in ssh's message -> what was found, what was expected, what to do. The first that fits.
_MEANINGS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "another host key of {host} than before, expected the known one: if it was flashed anew, "
        "run ssh-keygen -R with the name it is known by, and ssh {host} once",
    ),
    (
        "Host key verification failed",
        "a host key of {host} that is not known here, expected a known one: run ssh {host} once "
        "and compare its fingerprint",
    ),
    (
        "Permission denied",
        "this user's keys refused by {host}, expected to log in without a password: run "
        "ssh-copy-id {host}, or ssh-add where the key has a passphrase",
    ),
    (
        "Could not resolve hostname",
        "no host named {host}, expected a name that can be looked up: check it, or give it a Host "
        "entry in ~/.ssh/config",
    ),
    (
        "Connection refused",
        "no ssh server on {host}, expected one: run sudo systemctl start ssh on it",
    ),
    (
        "timed out",
        "no answer from {host}, expected one: check that it is switched on and in this network",
    ),
    (
        "No route to host",
        "no route to {host}, expected one: check that it is switched on and in this network",
    ),
)


class Link:
    """A board by its ssh destination; every call is a connection of its own.

    Raises:
        UsageError: the destination would be read as an option.
        MissingExtraError: ssh or rsync is not installed here.
    """

    def __init__(self, host: str) -> None:
        if not host or host.startswith("-") or any(c.isspace() for c in host):
            raise UsageError(
                f"found `host` {host!r}, expected a name without blanks: pass `host` user@board, "
                "or a name from ~/.ssh/config"
            )
        self.host = host
        self.ssh = [*shlex.split(os.environ.get(COMMAND, "ssh")), *OPTIONS]
        for program, package in ((self.ssh[0], "openssh-client"), ("rsync", "rsync")):
            if shutil.which(program) is None:
                raise MissingExtraError(
                    f"found no {program} here, expected it to build on a board: run sudo apt "
                    f"install {package}"
                )

    def command(self, script: str) -> list[str]:
        """The local command that runs a POSIX shell script there, whatever the user's shell."""
        return [*self.ssh, self.host, f"sh -c {shlex.quote(script)}"]

    def ask(self, script: str) -> str:
        """Output of a short script there.

        Raises:
            TargetError: the board cannot be reached, or the script fails.
        """
        done = subprocess.run(
            self.command(script), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode == 255:
            raise TargetError(self.explain(done.stderr))
        if done.returncode:
            raise TargetError(
                f"found a command that failed on {self.host} ({_last(done.stderr)}), expected a "
                "POSIX shell with mktemp and df there: log in and look"
            )
        return done.stdout

    def copy(self, source: str, target: str) -> None:
        """Copy a folder's content with rsync, its progress on stderr; one side is there.

        Args:
            source, target: folders that end in a slash; see ``remote_folder`` and ``local_folder``.

        Raises:
            TargetError: the copy did not arrive.
        """
        progress = ["--info=progress2"] if sys.stderr.isatty() else []
        done = subprocess.run(
            ["rsync", "-rt", *progress, "-e", shlex.join(self.ssh), source, target],
            stdin=subprocess.DEVNULL,
            stdout=2,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            full = "No space left" in done.stderr
            advice = "free some space there" if full else "run the command again"
            raise TargetError(
                f"found exit code {done.returncode} of rsync between here and {self.host} "
                f"({_last(done.stderr)}), expected {source} at {target}: {advice}"
            )

    def remote_folder(self, folder: str) -> str:
        """A folder on the board, for ``copy``."""
        return f"{self.host}:{folder}/"

    def explain(self, said: str) -> str:
        """One sentence for ssh's message when it could not connect."""
        for sign, meaning in _MEANINGS:
            if sign in said:
                return f"found {meaning.format(host=self.host)} (ssh: {_last(said)})"
        return (
            f"found no ssh connection to {self.host} ({_last(said)}), expected one: run ssh "
            f"{self.host} and look"
        )


def local_folder(folder: Path) -> str:
    """A local folder, for ``Link.copy``; never taken for a host with a colon."""
    return f"{folder.resolve()}/"


def _last(text: str) -> str:
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    # The line before rsync's closing one has the reason.
    reasons = [line for line in lines if not line.startswith("rsync error:")]
    return (reasons or lines or ["no message"])[-1]
