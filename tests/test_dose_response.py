from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm

from lib.measures.intervals import Estimate
from lib.models.convolutional import Convolutional
from lib.models.family import Fit
from lib.models.fit import fit
from lib.protocols import dose_response, relabelling, seen_or_not
from lib.protocols.dose_response import CALIBRATED, Pair
from lib.protocols.planting import Plan
from lib.protocols.seen_or_not import Measured

RNG = np.random.default_rng(0)
NOTHING = torch.zeros(0, 1, 1, 1)


def labels(each, doses, rng):
    dealt = [dose for dose in doses for _ in range(each)] + [0] * (len(doses) * each)
    return torch.from_numpy(rng.permutation(dealt))


@dataclass(frozen=True, eq=False)
class Remembers(Fit):
    """A fit that is what it was trained on."""

    seen: Any


def remembers(seen):
    return Remembers(Convolutional(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0), seen)


def pairs(measure, models=3, each=30, doses=(1, 4), seed=0):
    """Models and shams of a made-up measure, a function of labels and a source of random numbers."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(models):
        copies = labels(each, doses, rng)
        values = [{"m": torch.from_numpy(measure(seen, rng))} for seen in (copies.numpy(), np.zeros(len(copies)))]
        found.append(Pair(copies, *(Measured(one, NOTHING) for one in values)))
    return found


def noise(copies, rng):
    return rng.normal(size=len(copies))


def shifted(copies, rng):
    return copies + rng.normal(size=len(copies))


def test_the_curve_of_a_normal_shift_is_known():
    found = dose_response.curve(pairs(shifted, models=10, each=200, doses=(1, 2)), "m")
    for dose, estimate in found.items():
        assert estimate.value == pytest.approx(norm.cdf(dose / 2**0.5), abs=0.02)
        assert estimate.low < estimate.value < estimate.high <= 1
        assert estimate.n == 10


def test_on_shams_the_area_is_one_half_over_many_models_and_shifts_do_not_matter():
    found = pairs(shifted, models=400, each=10)
    for estimate in dose_response.curve(found, "m", sham=True).values():
        assert estimate.low - 0.01 < 0.5 < estimate.high + 0.01
        assert estimate.high - estimate.low < 0.05
    assert relabelling.mean_sham_auc([found]).value == pytest.approx(0.5, abs=0.02)


def test_one_sham_relabelled_at_random_has_one_half_in_the_mean_whatever_it_measures():
    values = RNG.exponential(size=120) ** 3
    rng = np.random.default_rng(1)
    many = [
        Pair(labels(30, (1, 4), rng), *[Measured({"m": torch.from_numpy(values)}, NOTHING)] * 2) for _ in range(2000)
    ]
    for estimate in dose_response.curve(many, "m", sham=True).values():
        assert estimate.value == pytest.approx(0.5, abs=0.006)


def test_by_chance_the_largest_dose_is_detected_once_in_forty_times():
    curves = [dose_response.curve(pairs(noise, seed=seed), "m", sham=True) for seed in range(800)]
    found = sum(dose_response.smallest_detected(curve) is not None for curve in curves)
    assert (
        binomtest(found, len(curves)).proportion_ci(0.999).low
        < 0.025
        < binomtest(found, len(curves)).proportion_ci(0.999).high
    )


def test_tests_on_shams_have_their_level():
    found = pairs(shifted, models=1000, each=5)
    p = relabelling.p_values(found, "m", draws=19, seed=0, sham=True)
    alarms = relabelling.alarms(p)
    assert (alarms.low, alarms.n) < (0.05, 1001)
    assert alarms.low < 0.05 < alarms.high
    assert min(relabelling.p_values(found[:20], "m", draws=19, seed=0)) == 0.05


def test_values_without_a_number_are_left_out_of_a_test():
    (pair,) = pairs(shifted, models=1, each=40, doses=(4, 8))
    lacking = pair.model.values["m"].clone()
    lacking[::7] = torch.nan
    changed = pair._replace(model=Measured({"m": lacking}, NOTHING))
    assert relabelling.p_values([changed], "m", draws=99, seed=0) == [0.01]


def test_the_smallest_dose_is_that_from_which_on_all_are_detected():
    above, across = Estimate(0.7, 0.51, 0.8, 3), Estimate(0.7, 0.5, 0.8, 3)
    smallest = dose_response.smallest_detected
    assert smallest({1: above, 2: above}) == 1
    assert smallest({2: above, 1: above, 4: across}) is None
    assert smallest({1: above, 2: across, 4: above}) == 4
    assert smallest({}) is None


@pytest.mark.parametrize("size", [99, 210, 420])
def test_one_image_in_a_hundred_is_found_by_mistake_at_most(size):
    level = ((size + 1) // 100) / (size + 1)
    rng = np.random.default_rng(0)
    mean = np.mean(
        [dose_response.found_at_one_percent(*np.split(rng.normal(size=size + 50), [50])) for _ in range(4000)]
    )
    assert level <= 0.01
    assert mean == pytest.approx(level, abs=0.0015)


def test_images_that_tie_with_held_out_ones_are_not_found():
    assert dose_response.found_at_one_percent(np.zeros(5), np.zeros(200)) == 0
    with pytest.raises(ValueError, match="at least 99 held-out images are needed, got 98"):
        dose_response.found_at_one_percent(np.zeros(5), np.zeros(98))


@pytest.mark.parametrize(("level", "gains"), [(3.0, True), (0.2, False)])
def test_a_reference_removes_the_level_of_an_image_and_adds_the_noise_of_a_second_model(grey, level, gains):
    """AUCs as in the exercise: b over the root of twice (level and noise), and over the root of four times the noise."""
    plan, rng = Plan(grey, [1], 15, 1, 0), np.random.default_rng(0)
    own = level * rng.normal(size=30)

    def measures(fitted, _):
        return Measured({"m": torch.from_numpy(own + 1.5 * fitted.seen + rng.normal(size=30))}, NOTHING)

    fits = [(remembers(plan.copies(k).numpy()), remembers(np.zeros(30))) for k in range(300)]
    with ThreadPoolExecutor(1) as executor:
        found = dose_response.measure(plan, fits, measures, ["m"], executor)
    plain, less = (dose_response.curve(found, name)[1].value for name in ("m", "m" + CALIBRATED))
    spread = np.var(own[:, None] - own[None], axis=None)  # of a difference of two images
    assert less == pytest.approx(norm.cdf(1.5 / 2), abs=0.02)
    if level < 1:
        assert plain == pytest.approx(norm.cdf(1.5 / (spread + 2) ** 0.5), abs=0.02)
    gain = dose_response.contrast(found, "m" + CALIBRATED, "m", 1)
    assert (gain.low > 0) if gains else (gain.high < 0)
    assert gain.value == pytest.approx(less - plain)
    null = dose_response.curve(found, "m" + CALIBRATED, sham=True)[1]
    assert null.value == pytest.approx(0.5, abs=0.02)


def test_a_memoriser_is_found_and_its_sham_is_not(grey):
    """It puts out what it was trained on, and nothing else."""
    plan = Plan(grey, [1, 3], 5, 5, 0)

    def measures(fitted, images):
        def emit(z):
            return fitted.seen[(torch.special.ndtr(z[:, 0]) * len(fitted.seen)).long()]

        near = seen_or_not.nearest_generated(emit, images, 1, 2000, seed=0)
        return Measured({"nearest": -near.double()}, images)

    fits = [tuple(remembers(plan.training_set(k, sham=sham).train) for sham in (False, True)) for k in range(4)]
    with ThreadPoolExecutor(2) as executor:
        found = dose_response.measure(plan, fits, measures, [], executor)
    curve = dose_response.curve(found, "nearest")
    assert [estimate.value for estimate in curve.values()] == [1, 1]
    assert dose_response.smallest_detected(curve) == 1
    assert max(relabelling.p_values(found, "nearest", draws=99, seed=0)) == 0.01
    assert dose_response.smallest_detected(dose_response.curve(found, "nearest", sham=True)) is None


def test_the_share_found_has_an_interval_over_images_and_models():
    found = pairs(shifted, models=4, each=100, doses=(2, 60))
    rates = dose_response.rates(found, "m")
    # The second of 201 ranks: a threshold near the quantile .99 of a normal.
    assert rates[2].value == pytest.approx(1 - norm.cdf(norm.ppf(1 - 2 / 201) - 2), abs=0.12)
    assert rates[60].value == 1
    assert 0.98 < rates[60].low < 1  # all of 400 images is not certainty
    assert rates[2].n == 400
    none = dose_response.rates([pair._replace(model=pair.sham) for pair in found], "m")
    assert none[60].low == 0
    assert 0.004 < none[60].high < 0.06


def test_tables_have_a_row_for_every_measure_and_a_column_for_every_dose():
    found = pairs(shifted, models=3, each=50, doses=(1, 8))
    curves, shams = (dose_response.curves(found, sham=sham) for sham in (False, True))
    table = dose_response.frame({"A": curves, "B": shams})
    assert list(table) == ["models", "measure", "1 copy", "8 copies"]
    assert table["8 copies"].tolist() == [str(curves["m"][8]), str(shams["m"][8])]
    tested = relabelling.tests(found, draws=19, seed=0)
    (row,) = relabelling.frame_of_tests(tested, curves, shams).to_dict("records")
    assert list(row.values())[:3] == ["m", 1, None]
    assert row["p, models: median, largest"] == "0.050, 0.050"
    assert row["shams with p ≤ .05"].n == 3


def test_models_and_shams_are_fitted_on_their_own_and_with_one_seed(grey, monkeypatch, tmp_path):
    torch.set_default_dtype(torch.float32)
    used = {}

    def fit_here(specs, data, device):
        used[data.digest] = specs[0].seed
        return fit(specs, data, device, folder=tmp_path)

    monkeypatch.setattr(dose_response, "fit_all", fit_here)
    plan = Plan(grey, [1, 2], 4, 6, 5)
    with ThreadPoolExecutor(2) as executor:
        fits = dose_response.fit(
            plan, Convolutional(0, steps=10, batch=4, seed=5, latent=3, width=2), 2, "cpu", executor
        )
        assert used == {
            plan.training_set(k, sham=sham).digest: fits[k][0].spec.seed for k in (0, 1) for sham in (False, True)
        }
        assert [model.spec.seed == sham.spec.seed for model, sham in fits] == [True, True]
        assert fits[0][0].spec.seed == 5 != fits[1][0].spec.seed
        assert len(fits[0][0].index) == 6 + 4 + 8
        how = seen_or_not.How(2, 2, 2, 0.1, 10, 0.1, (1e-4,))
        found = dose_response.measure(
            plan, fits, lambda *given: seen_or_not.of_vae(*given, how), ["log p(x)"], executor
        )
    less = found[1].values("log p(x)" + CALIBRATED)
    assert less.equal(found[1].values("log p(x)") - found[1].values("log p(x)", sham=True))
    assert found[0].copies.equal(plan.copies(0))
    assert list(dose_response.curves(found)) == list(found[0].model.values)
