"""Every exception of the package.

`ReportCardError` is what a user may see: the command line prints it as one sentence. The others are
caught inside the room that raises them. An exception is defined beside the code that it is about;
only those that every room needs are here. `tests/core/test_errors.py` keeps this tree complete.

    Exception
    ├── ReportCardError             the user can act on it
    │   ├── ImageError              one image cannot be read; only its study fails
    │   ├── StopRunError            no further study can be answered now          api
    │   ├── EgressError             this text may not be sent to this server      llm.egress.policy
    │   ├── NotComparableError      systems of a board cannot be compared          publish.board
    │   ├── WorkerError             an isolated model's process must be restarted models.isolated
    │   │   ├── ProtocolError       it sent something that is no answer
    │   │   ├── WorkerCrashError    it ended by itself
    │   │   └── WorkerTimeoutError  it did not answer in time
    │   └── WorkerAnswerError       it runs, but has no answer for this batch     models.isolated
    │       └── OutOfMemoryError    its device ran out of memory
    ├── FailureError                an endpoint gave no answer                    llm.client
    │   ├── TransientError          asking again may help
    │   ├── RequestRejectedError    another form of the request may help
    │   ├── PermanentError          this question will never be answered
    │   ├── TooLongError            the question exceeds the model's context
    │   └── FatalError              no question will be answered
    ├── ValueError
    │   └── BadAnswerError          a judge's answer is not a verdict             llm.judge.contract
    └── ImportError
        └── NotImportedError        `list` does not import a large package        cli.systems
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ReportCardError(Exception):
    """An error that the user can act on; the command line prints its sentence and no traceback."""


class ImageError(ReportCardError):
    """One image cannot be read. Its study counts as failed, and the run continues.

    kind   missing | outside | empty | truncated | unreadable | bomb | empty_frame | mask
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
