"""Writing while training goes on: one thing at a time, in a thread."""

import threading
from collections.abc import Callable
from types import TracebackType


class Saver:
    """Runs what is given to it, one after the other.

    Args:
        aside: in a thread; else at once.
    """

    def __init__(self, *, aside: bool) -> None:
        self.aside = aside
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def put(self, write: Callable[[], None]) -> None:
        """Waits for what was given before, raises what that raised, and begins."""
        self.wait()
        if not self.aside:
            write()
            return
        self.thread = threading.Thread(target=self._run, args=(write,), name="saving")
        self.thread.start()

    def wait(self) -> None:
        """Until all is written; raises what went wrong."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        elif self.thread is not None:
            self.thread.join(600)
