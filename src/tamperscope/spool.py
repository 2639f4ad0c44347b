"""What is read from a pipe, kept in a temporary file, so that it can be read again."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


def is_read_once(path: str) -> bool:
    """Whether a path leads to what cannot be read twice: standard input, a pipe, a device."""
    import stat

    return path == "-" or not (os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode))


class Spool:
    """
    A binary file object over a pipe that keeps all it gave; `again` gives that once more.

    path: "-" or a path.  Raises OSError where it cannot be opened; a full disk is an OSError of `again`, since what is
    read must not suffer from it.
    """

    def __init__(self, path: str) -> None:
        from tempfile import TemporaryFile

        self.name = path
        self._own = path != "-"
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if self._own else 0
        self._kept: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by close
        self._failure: OSError | None = None

    def read(self, size: int) -> bytes:
        """The next bytes; b"" at the end."""
        data = os.read(self._descriptor, size)
        if self._failure is None:
            try:
                self._kept.write(data)
            except OSError as error:
                self._failure = error
                self._kept.truncate(0)
        return data

    def again(self) -> IO[bytes]:
        """All that was read, from its beginning."""
        if self._failure is not None:
            raise self._failure
        self._kept.seek(0)
        return self._kept

    def close(self) -> None:
        if self._own:
            os.close(self._descriptor)
        self._kept.close()
