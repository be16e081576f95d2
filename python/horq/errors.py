"""What horq raises, beside the `ValueError` and `TypeError` of arguments."""

from __future__ import annotations

from functools import cache

from ._core import Error


class ExportError(Error):
    """A module that a `.horq` file cannot express: which node, at which line, why, and what to do."""


class CancelledError(Error):
    """A run whose `CancelToken` was cancelled."""

    samples: int = 0
    """Samples that were finished."""
    layer: str | None = None
    """The last layer that the first unfinished samples came through."""


class DeadlineError(Error, TimeoutError):
    """A run that took longer than its timeout."""

    samples: int = 0
    """Samples that were finished."""
    layer: str | None = None
    """The last layer that the first unfinished samples came through."""


class FileError(Error, OSError):
    """A file that the operating system does not open, read or write; with `errno` and `filename`.

    What is raised is both a `FileError` and the subclass of `OSError` that `open` would raise, such as
    `FileNotFoundError`.
    """

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[object, ...]:
        return file_error, (self.errno, self.strerror, self.filename)


@cache
def _class_of(builtin: type[OSError]) -> type[FileError]:
    """The class that is a `FileError` and that built-in error."""
    if builtin is OSError:
        return FileError
    return type(builtin.__name__, (FileError, builtin), {"__module__": __name__})


def file_error(errno: int, text: str, path: str) -> FileError:
    """The error of that number of the operating system, which says `text`."""
    return _class_of(type(OSError(errno, text)))(errno, text, path)
