"""What has been computed of pictures, within a budget of bytes."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by name: all that are still awaited, and of the others those that were used last.

    Args:
        memory: bytes that all values may take. What is awaited is kept in any case, so that nothing is computed twice
            for prompts that are known.
        size: bytes of a value.
    """

    def __init__(self, memory: int, size: Callable[[T], int]) -> None:
        self.memory, self.size, self.held = memory, size, 0
        self.awaited: Counter[str] = Counter()
        self._needed: dict[str, T] = {}
        self._spare: dict[str, T] = {}
        """What nobody awaits, the longest unused first."""

    def expect(self, names: Iterable[str]) -> None:
        """What is going to be used, as often as it is named; earlier expectations are void."""
        self.awaited = Counter(names)
        self._spare = self._needed | self._spare
        self._needed = {name: self._spare.pop(name) for name in self.awaited if name in self._spare}
        self._shrink()

    def __contains__(self, name: str) -> bool:
        return name in self._needed or name in self._spare

    def __getitem__(self, name: str) -> T:
        if name in self._needed:
            return self._needed[name]
        value = self._spare[name] = self._spare.pop(name)
        return value

    def __setitem__(self, name: str, value: T) -> None:
        self._shrink(self.size(value))
        self.held += self.size(value)
        (self._needed if name in self.awaited else self._spare)[name] = value

    def used(self, names: Iterable[str]) -> None:
        """Counts what has been used; what nobody awaits any more may go."""
        for name in names:
            self.awaited[name] -= 1
            if self.awaited[name] <= 0:
                del self.awaited[name]
                if name in self._needed:
                    self._spare[name] = self._needed.pop(name)
        self._shrink()

    def _shrink(self, more: int = 0) -> None:
        while self.held + more > self.memory and self._spare:
            self.held -= self.size(self._spare.pop(next(iter(self._spare))))
