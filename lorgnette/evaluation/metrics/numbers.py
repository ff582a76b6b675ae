"""What every measure of scores begins with: finite numbers, one for each item."""

import numpy as np
from numpy import ndarray

from lorgnette.errors import DataError


def finite(values: ndarray, field: str) -> None:
    """Asks for numbers everywhere.

    Raises:
        DataError: NaN or infinity; it names the first item (row) that has one.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{values[where]} is no number to rank by",
            where=f"item {where[0]}",
            field=field,
            fix="Look for the item that the model could not score.",
        )


def alike(field: str, *lengths: int) -> None:
    """Asks for the same number of entries everywhere, and at least one.

    Raises:
        DataError: numbers that differ, or no entries.
    """
    if len(set(lengths)) > 1:
        raise DataError(f"{' and '.join(map(str, lengths))} entries do not belong together", field=field)
    if not lengths[0]:
        raise DataError("there are no items to measure", field=field)
