"""The benchmarks run, at sizes of seconds, and the ways that they time do the same work."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import affine

from benchmarks import calibration, flows, geodesic, jacobian, kfold, recovery
from lib.models.flows import VelocityNetwork
from lib.protocols.audit_two_sides import lower

SPEC = kfold.KFold("bernoulli", images=0, folds=2, epochs=4, batch=3, latent=2, width=4, samples=8, score_every=2)


@pytest.fixture(autouse=True)
def single_precision(double_precision):
    """As they are run by hand."""
    torch.set_default_dtype(torch.float32)


def timed(rows, time):
    """All times are positive, and the first row is the yardstick of the others."""
    return all(getattr(row, time) > 0 for row in rows)


def test_jacobians_are_timed_against_passes_of_the_decoder():
    decoder, _ = affine(12, 3)
    rows = jacobian.compare(decoder, torch.randn(5, 3), repeats=1, loop_points=2)
    assert len(rows) == 5
    assert timed(rows, "milliseconds_per_point")
    assert rows[0].times_the_yardstick == 1
    assert len(jacobian.markdown(rows).splitlines()) == 7


def test_the_table_of_jacobians_and_the_peak_of_memory_are_printed():
    done = CliRunner().invoke(jacobian.main, ["--points=2", "--latent=2", "--width=2", "--memory-points=3"])
    assert done.exit_code == 0, done.output
    assert "`log_density` at rank 2 (ours)" in done.output
    assert "log_density at 3 points" in done.output


def test_all_ways_to_a_metric_agree():
    model = geodesic.network(2, side=3, width=4, centres=5)
    rows = geodesic.metrics(model, torch.randn(6, 2), None, repeats=1)
    assert timed(rows, "milliseconds")
    differences = [row.against_ours[0] for row in rows]
    assert differences[0] == 0
    assert math.isnan(differences[1])
    assert max(differences[2:]) < 1e-5


def test_paths_found_side_by_side_and_alone_are_as_long_and_straight_lines_longer():
    model = geodesic.network(2, side=3, width=4, centres=5)
    together, alone, straight = geodesic.paths(model, *torch.randn(2, 4, 2), None, repeats=1)
    assert together.against_ours == (1, 1, 1)
    assert alone.against_ours == pytest.approx((1, 1, 1), abs=1e-3)
    assert straight.against_ours[0] >= 1 - 1e-5
    assert together.converged == alone.converged == 1


def test_both_trainings_and_the_samples_are_timed():
    rows = kfold.training(SPEC, (1, 4, 4), "cpu", repeats=1, steps=1)
    assert [row.times_the_floor > 0 for row in rows] == [True] * 3
    rows += kfold.sampling(SPEC, (1, 4, 4), "cpu", images=8, repeats=1)
    assert timed(rows, "milliseconds")
    assert len(kfold.markdown(rows, "ms").splitlines()) == 7


def test_more_images_are_predicted_to_take_longer():
    few, many = (kfold.predict(SPEC, train, 6, (1, 4, 4), "cpu") for train in (10, 100_000))
    assert 0 < few < many


def test_all_ways_of_recovery_end_at_the_same_errors_on_a_linear_generator():
    decoder = torch.nn.Linear(3, 10).requires_grad_(False)
    rows = recovery.compare(decoder, torch.randn(16, 10), latent=3, scale=1.0, repeats=1)
    assert timed(rows, "milliseconds")
    floor, ours, *others = (row.median_error for row in rows)
    assert math.isnan(floor)
    assert others == pytest.approx([ours] * 2, rel=1e-3)
    assert len(recovery.markdown(rows).splitlines()) == 6


def test_all_ways_to_a_flows_density_agree():
    network = VelocityNetwork(6, 8, 1, 0.3).requires_grad_(False)
    rows = flows.compare(network, torch.randn(5, 6), 12, probes=64, repeats=1)
    assert timed(rows, "milliseconds")
    ours, reverse, forward, divergences, hutchinson, equal, precise = rows
    assert (ours.off, ours.times_ours) == (0, 1)
    assert max(reverse.off, forward.off) < 1e-4
    assert divergences.off < 0.3
    assert hutchinson.off < 5 * (hutchinson.error + divergences.off)
    assert (equal.error, precise.error) == (divergences.off, flows.TARGET)
    assert precise.milliseconds == pytest.approx(hutchinson.milliseconds * (hutchinson.error / flows.TARGET) ** 2)
    assert len(flows.markdown(rows).splitlines()) == 9


@pytest.mark.parametrize("benchmark", [flows, geodesic, jacobian, kfold, recovery])
def test_every_benchmark_explains_itself(benchmark):
    done = CliRunner().invoke(benchmark.main, ["--help"])
    assert done.exit_code == 0
    assert f"Example: python -m benchmarks.{benchmark.__name__.split('.')[-1]}" in done.output


def test_p_values_that_are_too_small_are_seen_and_ties_are_not_taken_for_it():
    rng = np.random.default_rng(0)
    few_values = calibration.of_numbers(lambda n: rng.integers(3, 5, n).astype(float), lower, "honest", rng)
    pairs = [each["honest"] for each in islice(few_values, 200)]
    said = [calibration.table(iter([{"p": pair} for pair in each]), 200, rng, "") for each in (pairs, squared(pairs))]
    honest, small = (float(each.loc["p", "KS p"]) for each in said)
    assert honest > 0.01
    assert small < 1e-6


def squared(pairs):
    """P-values as of a test that is sure of too much."""
    return [(p**2, strict**2) for p, strict in pairs]
