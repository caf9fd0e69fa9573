"""What the presence of an image does, where it is known; and what comes out of samplers that are known."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from test_dose_response import NOTHING, labels, noise, pairs, shifted

from lib.models.convolutional import Convolutional
from lib.models.data import Dataset
from lib.models.fit import fit
from lib.protocols import at_a_glance, both_questions, costs, dose_response, emission, influence
from lib.protocols.dose_response import Pair
from lib.protocols.planting import Plan
from lib.protocols.seen_or_not import How, Measured


def of_items(measures, models=4, each=50, doses=(1, 3), seed=0):
    """Models and shams whose items have levels of their own; each measure is a function of level, copies and noise."""
    rng = np.random.default_rng(seed)
    level = 100 * rng.normal(size=2 * each * len(doses))
    found = []
    for _ in range(models):
        copies = labels(each, doses, rng)
        sides = [
            {name: torch.from_numpy(of(level, seen, rng)) for name, of in measures.items()}
            for seen in (copies.numpy(), np.zeros(len(copies)))
        ]
        found.append(Pair(copies, *(Measured(one, NOTHING) for one in sides)))
    return found


def exact(level, copies, rng):
    return level + 5 * copies


# influence


def test_without_noise_the_effect_is_what_was_planted_whatever_the_items_levels():
    found = of_items({"m": exact})
    for dose in (0, 1, 3):
        effect = influence.effect(found, "m", dose)
        assert effect.value == pytest.approx(5 * dose)
        assert effect.n == 4
    assert influence.per_row(found, "m", 1).value == pytest.approx(5)
    assert influence.per_row(found, "m", 3).value == pytest.approx(5)
    assert influence.last_less_first(found, "m").value == pytest.approx(0)


def test_a_row_counts_less_where_there_are_many():
    found = of_items({"m": lambda level, copies, rng: level + np.sqrt(copies)}, doses=(1, 4, 16))
    assert influence.per_row(found, "m", 1).value == pytest.approx(1)
    assert influence.per_row(found, "m", 16).value == pytest.approx(2 / 12)
    assert influence.last_less_first(found, "m").value == pytest.approx(2 / 12 - 1)


def test_the_smallest_dose_counts_by_its_rows():
    found = of_items({"m": exact}, doses=(2, 4))
    assert influence.per_row(found, "m", 2).value == pytest.approx(5)


def test_what_is_held_out_has_no_effect_and_its_interval_says_so_in_nineteen_of_twenty_cases():
    inside = []
    for seed in range(300):
        effect = influence.effect(pairs(shifted, models=4, each=20, seed=seed), "m", 0)
        inside.append(effect.low < 0 < effect.high)
    assert np.mean(inside) > 0.9


def test_the_target_is_not_among_the_models_that_it_is_compared_with():
    copies = torch.tensor([1, 0])
    values = [{"m": torch.tensor(both)} for both in ([7.0, 2.0], [1.0, 4.0])]
    found = [Pair(copies, *(Measured(one, NOTHING) for one in values))]
    np.testing.assert_allclose(influence.counterfactual(found, "m")[0], [7 - 1, 2 - 4])


# agreement


def test_measures_of_one_thing_agree_after_the_items_levels_are_gone():
    def one(level, copies, rng):
        return level + copies + 0.001 * rng.normal(size=len(level))

    twins = {"a": one, "b": lambda *given: np.exp(one(*given) / 100), "c": lambda *given: -one(*given)}
    found = of_items(twins, doses=(1, 2, 4, 8, 16), each=20)
    table = influence.correlations(found, list(twins))
    np.testing.assert_allclose(np.diag(table), 1)
    np.testing.assert_allclose(table, table.T)
    assert table[0, 2] < -0.9
    assert influence.agreement(found, ["a", "c"]).value == pytest.approx(table[0, 2])
    assert influence.agreement(found, list(twins)).value == pytest.approx(np.mean(table[np.triu_indices(3, 1)]))


def test_levels_alone_are_no_agreement():
    blind = {"a": lambda level, copies, rng: level + rng.normal(size=len(level)) / 100}
    blind["b"] = blind["a"]
    assert abs(influence.agreement(of_items(blind, models=8, each=100), ["a", "b"]).value) < 0.05


def test_a_measure_without_order_and_items_without_a_number():
    measures = {"a": exact, "same": lambda level, copies, rng: 0 * level, "b": exact}
    found = of_items(measures)
    np.testing.assert_allclose(influence.correlations(found, ["a", "same"]), [[1, 0], [0, 0]])
    planted = int(np.flatnonzero(found[0].copies.numpy())[0])
    found[0].model.values["a"][planted] = torch.nan
    assert influence.agreement(found, ["a", "b"]).value == pytest.approx(1)


# what comes out


def test_a_third_of_the_distance_to_the_second_image_is_the_border():
    images = torch.tensor([[0.0], [4.0], [100.0]])
    assert emission.emitted(torch.tensor([[0.99]]), images).tolist() == [True, False, False]
    assert emission.emitted(torch.tensor([[1.01]]), images).tolist() == [False, False, False]
    assert emission.emitted(torch.tensor([[-1.0], [100.0]]), images).tolist() == [True, False, True]


def test_a_decoder_makes_as_many_images_as_asked_for_whatever_the_parts(monkeypatch):
    rngs = [torch.Generator().manual_seed(3) for _ in range(2)]
    whole = emission.generated(lambda z: z.view(-1, 1, 2) ** 2, 2, 7, rng=rngs[0])
    monkeypatch.setattr(emission, "AT_ONCE", 3)
    parts = emission.generated(lambda z: z.view(-1, 1, 2) ** 2, 2, 7, rng=rngs[1])
    assert whole.shape == (7, 2)
    torch.testing.assert_close(whole, parts)


def kernel_log_p(x, rows, copies, width):
    """By scipy: the log density of a mixture of normals, one for each row."""
    kernels = [multivariate_normal(row, width**2 * np.eye(len(row))).pdf(x) for row in rows.numpy()]
    return np.log(np.dot(copies / copies.sum(), kernels))


@pytest.mark.parametrize("removed", [1.0, 3.0])
def test_what_removing_copies_does_is_that_of_two_mixtures(removed):
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.2, -0.4]])
    copies = torch.tensor([3.0, 1.0, 2.0])
    found = emission.kernel_effect(rows, copies, 0.7, torch.tensor([0]), torch.tensor([removed]))
    fewer = copies - torch.tensor([removed, 0, 0])
    args = [(rows[0].numpy(), rows, each.numpy(), 0.7) for each in (copies, fewer)]
    assert float(found) == pytest.approx(kernel_log_p(*args[0]) - kernel_log_p(*args[1]))


def test_one_of_many_copies_is_worth_the_logarithm_of_their_ratio():
    rows = torch.tensor([[0.0], [50.0]])
    found = emission.kernel_effect(rows, torch.tensor([64.0, 1e9]), 1.0, torch.tensor([0]), torch.tensor([1.0]))
    assert float(found) == pytest.approx(np.log(64 / 63), rel=1e-6)


def test_kernels_have_their_rows_and_their_width():
    rows = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    made = emission.kernel_samples(rows, 40_000, 0.5, rng=torch.Generator().manual_seed(0))
    first = made[made[:, 0] < 5]
    assert len(first) / len(made) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(first.mean(0), [0, 0], atol=0.02)
    np.testing.assert_allclose(first.std(0), [0.5, 0.5], atol=0.02)


def test_the_length_of_the_noise_is_a_share_of_the_distance_to_the_nearest():
    rows = torch.eye(3).repeat_interleave(4, 1)  # all at a distance of the square root of eight
    assert emission.width_of(0.5, rows) == pytest.approx(0.5 * 8**0.5 / 12**0.5)


# both questions


@pytest.fixture(scope="module")
def plan():
    x = torch.rand(400, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(400, dtype=torch.long)
    return Plan(Dataset("noise", x, labels, x[:5], labels[:5], "noise"), (1, 8), 20, 100, 0)


def test_short_kernels_copy_as_often_as_their_rows_are_drawn_and_long_ones_never(plan):
    narrow, wide = (both_questions.kernels(plan, 3, share, 280) for share in (0.1, 1.0))
    rows = 100 + 20 * 9
    for dose in (1, 8):
        beyond = both_questions.beyond(plan, narrow.came_out, dose, 280)
        copied = both_questions.of_kernels(plan, narrow, dose).copied
        assert copied.value - beyond.value == pytest.approx(1 - (1 - dose / rows) ** 280)
        assert abs(beyond.value) < 0.15
        assert both_questions.of_kernels(plan, wide, dose).copied.value == 0
    none = both_questions.copied(plan, narrow.came_out, 0)
    assert none.value == 0
    assert none.high == pytest.approx(1 - 0.025 ** (1 / none.n))  # exact, for none of so many


def test_one_of_eight_copies_matters_little_to_kernels_and_a_single_one_as_much_as_all(plan):
    narrow = both_questions.kernels(plan, 2, 0.1, 10)
    one, eight = (both_questions.of_kernels(plan, narrow, dose) for dose in (1, 8))
    assert one.row == one.image
    assert eight.row.value == pytest.approx(np.log(8 / 7) - np.log(280 / 279), abs=1e-3)
    assert eight.image.value > 100


def test_answers_of_models_are_of_the_same_images(plan):
    found = of_items({"log p": exact}, models=2, each=20, doses=(1, 8))
    found = [pair._replace(copies=plan.copies(k)) for k, pair in enumerate(found)]
    came_out = [plan.copies(k) == 8 for k in range(2)]
    answers = both_questions.of_models(plan, found, came_out, 8, "log p")
    assert answers.copied.value == 1
    assert answers.image == influence.effect(found, "log p", 8)
    samples = both_questions.made(plan, [lambda z: z.view(-1, 1, 1, 2)] * 2, 2, 3)
    assert not torch.equal(*samples)


def test_the_table_has_a_row_for_each_measure(monkeypatch):
    found = pairs(shifted, models=3, each=30, doses=(1, 4))
    frame = at_a_glance.frame(found, draws=99, seed=0)
    assert list(frame.columns) == ["AUC, 1 copy", "AUC, 4 copies", "mean above ½ from", "false alarms"]
    assert frame.loc["m", "AUC, 4 copies"] == dose_response.curve(found, "m")[4]
    assert frame.loc["m", "mean above ½ from"] == 1
    monkeypatch.setattr(dose_response, "NEGATIVES", 60)
    assert "found, 4 copies" in at_a_glance.frame(pairs(noise, each=60), draws=99, seed=0)


@pytest.mark.usefixtures("single_precision")
def test_costs_are_of_each_measure_and_larger_for_more_work(plan):
    dataset = plan.dataset._replace(train=plan.dataset.train.float())
    (model,) = fit([Convolutional(0, latent=4, width=4, steps=60, batch=16)], dataset, "cpu")
    few, many = (costs.of_vae(model, dataset.train[:4], How(2, 4, steps, 0.1, 10, 0.1)) for steps in (2, 60))
    assert list(few) == ["reconstruction", "log p(x)", "latent recovery", "nearest generated", "density", "sharp peak"]
    assert all(second > 0 for second in few.values())
    assert many["latent recovery"] > few["latent recovery"]
