"""What one table says of the measures of a family: how well they find copies, from how many on, at what risk."""

from collections.abc import Sequence

import pandas as pd

from lib.protocols import dose_response, relabelling
from lib.protocols.dose_response import Pair


def frame(pairs: Sequence[Pair], *, draws: int, seed: int) -> pd.DataFrame:
    """A row for each measure, under its name.

    Args:
        pairs: the models and their shams.
        draws: random labels of each test.
        seed: of these.

    Returns:
        The AUC at the smallest and the largest dose; the share of the images with the largest dose that is found where
        one in a hundred others is, left out below :data:`lib.protocols.dose_response.NEGATIVES` held-out images; the
        smallest dose from which on the mean AUC of the models lies above one half; and the share of shams with alarms.
    """
    first, *_, last = dose_response.doses(pairs)
    enough = int((pairs[0].copies == 0).sum()) >= dose_response.NEGATIVES
    tested = relabelling.tests(pairs, draws=draws, seed=seed)
    rows = {}
    for name in pairs[0].measures:
        curve = dose_response.curve(pairs, name)
        rows[name] = {f"AUC, {_copies(first)}": curve[first], f"AUC, {_copies(last)}": curve[last]}
        if enough:
            rows[name][f"found, {_copies(last)}"] = dose_response.rates(pairs, name)[last]
        rows[name] |= {
            "mean above ½ from": dose_response.smallest_detected(curve),
            "false alarms": relabelling.alarms(tested[name].shams),
        }
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def _copies(dose: int) -> str:
    return f"{dose} copies" if dose > 1 else "1 copy"
