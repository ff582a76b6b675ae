"""The few exceptions a user sees: one sentence that says where, what, and what to do about it.

The command line prints the message without a traceback and exits with status 2.
"""


class LorgnetteError(Exception):
    """Something the user can mend.

    Args:
        problem: what is wrong, without a full stop.
        where: the file, sample key or option it is about.
        field: the column, part or field inside `where`.
        fix: what to do, as a sentence.
    """

    def __init__(self, problem: str, *, where: object = "", field: str = "", fix: str = "") -> None:
        self.problem, self.where, self.field, self.fix = problem, str(where), field, fix
        place = ": ".join(part for part in (self.where, field) if part)
        message = f"{place}: {problem}" if place else problem
        super().__init__(f"{message}. {fix}" if fix else message)


class DataError(LorgnetteError):
    """A file, sample or field of the user's data cannot be used."""


class ContextError(DataError):
    """A document has more positions than the model can read."""


class ConfigError(LorgnetteError):
    """A name, option, policy or combination of them does not make sense."""


class CheckpointError(LorgnetteError):
    """A checkpoint or weight file is missing, damaged, or belongs to something else."""


class ResourceError(LorgnetteError):
    """The machine ran out of something: disk, memory, or an optional package that is not installed."""
