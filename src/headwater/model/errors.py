"""Errors a person meets: what was found, what is allowed, and the next command."""

from typing import Final

EXIT_OK: Final = 0
EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2
EXIT_TOO_LITTLE_DATA: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_INTERRUPTED: Final = 130


class HeadwaterError(Exception):
    """One sentence (`text`), a stable `code`, the command to run next, and the exit code of the command line."""

    code = "error"
    exit_code = EXIT_USAGE

    def __init__(self, text: str, *, next_command: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.next = next_command


class UsageError(HeadwaterError):
    """The call cannot mean anything: a wrong option, an unreadable file, a name nobody knows."""

    code = "usage"


class UnknownPipelineError(UsageError):
    code = "unknown_pipeline"

    @classmethod
    def among(cls, name: str, known: tuple[str, ...]) -> "UnknownPipelineError":
        return cls(
            f"pipeline {name!r} is not in this store; known: {', '.join(known) or 'none'}. Pipelines are named by hw.run(...).",
            next_command="headwater pipelines",
        )


class UnknownTraceError(UsageError):
    code = "unknown_trace"


class TooLittleDataError(HeadwaterError):
    """There is data, or none yet, but not enough to answer."""

    code = "too_little_data"
    exit_code = EXIT_TOO_LITTLE_DATA


class EmptyStoreError(TooLittleDataError):
    code = "empty_store"


class NoOutcomesError(TooLittleDataError):
    code = "no_outcomes"


class StoreLockedError(HeadwaterError):
    """Another process writes this store; readers are not affected."""

    code = "store_locked"


class UnreachableError(HeadwaterError):
    """A service that was asked by URL did not answer."""

    code = "unreachable"
    exit_code = EXIT_UNREACHABLE


class UndecodableError(HeadwaterError):
    """A body or file that is not what it says it is; nothing of it was taken."""

    code = "undecodable"


def error_of(code: str, text: str, next_command: str | None) -> HeadwaterError:
    """The error a document stands for: the class whose `code` it is, so that the exit code is the same from afar."""
    classes, known = [HeadwaterError], {}
    while classes:
        found = classes.pop()
        known[found.code] = found
        classes.extend(found.__subclasses__())
    return known.get(code, HeadwaterError)(text, next_command=next_command)


class InvariantError(AssertionError):
    """A column type was built from values that break its contract: a bug in the room that built it."""


def require(condition: object, message: str) -> None:
    """Raise `InvariantError` with `message` unless `condition` holds."""
    if not condition:
        raise InvariantError(message)
