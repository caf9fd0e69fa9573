import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lib.measures.intervals import mean_of_few
from lib.models.convolutional import Convolutional
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.protocols import doses


def planted(slope, noise=0.0):
    """Measures that are a line in log10 of the images, for three models of each dose."""
    rng = np.random.default_rng(0)
    rows = [
        {"images": n, "model": k + 1, **{name: slope * np.log10(n) + noise * rng.normal() for name in doses.MEASURES}}
        for n in (10, 100, 1000)
        for k in range(3)
    ]
    return pd.DataFrame(rows)


def test_the_slope_of_a_line_is_found():
    found = doses.slope(planted(-2.0), "dip")
    assert found[:5] == pytest.approx((-2, -2, -2, 3, 0))
    assert doses.null(planted(-2.0), "dip") == pytest.approx(0)


def test_the_interval_of_a_slope_is_over_seeds():
    table = planted(1.0, noise=0.5)
    each = [stats.linregress(np.log10(models["images"]), models["decay"]).slope for _, models in table.groupby("model")]
    assert doses.slope(table, "decay") == pytest.approx(mean_of_few(torch.tensor(each)))


def test_what_a_seed_does_to_all_its_doses_is_not_in_the_interval():
    table = planted(1.0)
    table["dip"] += 10.0 * table["model"]
    assert doses.slope(table, "dip")[:5] == pytest.approx((1, 1, 1, 3, 0))


def test_the_null_is_the_most_that_models_of_one_dose_differ():
    table = pd.DataFrame({"images": [1, 1, 1, 2, 2], "dip": [0.0, 1.0, 5.0, 90.0, 92.0]})
    assert doses.null(table, "dip") == 5


def test_means_are_over_the_models_of_a_dose():
    table = planted(3.0, noise=1.0)
    found = doses.means(table)
    assert found.index.tolist() == [10, 100, 1000]
    expected = mean_of_few(torch.tensor(table[table["images"] == 100]["gap of the bound"].to_numpy()))
    assert found["gap of the bound"][100] == expected


SETTINGS = {"steps": 30, "batch": 4, "latent": 3, "width": 4}
HOW = doses.Settings(rank=2, samples=5, radii=(0.01,), reach=8.0, threshold=0.1)


@pytest.fixture
def images():
    torch.set_default_dtype(torch.float32)
    x = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Dataset("planted", x, torch.zeros(24, dtype=torch.long), x[:5], torch.zeros(5, dtype=torch.long), "planted")


def test_doses_are_nested_and_share_seeds_with_the_pair(images, monkeypatch, tmp_path):
    monkeypatch.setattr(doses, "fit_all", lambda specs, data, device: fit(specs, data, device, folder=tmp_path))
    fits = doses.fit(images, "cpu", [12, 6, 0], 2, seed=3, **SETTINGS)
    assert {size: len(models) for size, models in fits.items()} == {6: 2, 12: 2, 24: 2}
    assert fits[6][0].spec == Convolutional(6, seed=3, **SETTINGS)
    for k in range(2):
        assert len({models[k].spec.seed for models in fits.values()}) == 1
        assert set(fits[6][k].index.tolist()) < set(fits[12][k].index.tolist())
    found = doses.measure(fits, images, 6, HOW)
    assert found[["images", "model"]].to_numpy().tolist() == [[6, 1], [6, 2], [12, 1], [12, 2], [24, 1], [24, 2]]
    smallest = found[found["images"] == 6]
    assert smallest["dip"].tolist() == smallest["dip, same pairs"].tolist()
    assert found[list(doses.MEASURES)].notna().all(axis=None)
    largest = found[found["images"] == 24]
    assert largest["dip"].tolist() != largest["dip, same pairs"].tolist()
