"""The audit of a generator: its tests are exact, see what is planted, and say where they are blind."""

import math

import numpy as np
import pytest
import torch
from conftest import affine, counted
from scipy.stats import kstest
from torch.distributions import Independent, Normal

from lib.measures import copying, three_sample
from lib.measures.intervals import Estimate, share
from lib.measures.likelihood import log_evidence
from lib.measures.paths import decay
from lib.measures.statistics import auc, permutation_p
from lib.protocols import (
    audit_controls,
    audit_decoder,
    audit_evidence,
    audit_lists,
    audit_samples,
    audit_search,
    audit_two_sides,
)
from lib.protocols.audit import audit
from lib.protocols.audit_results import Finding
from lib.protocols.audit_scores import NAMES, divisions, ranked, scores
from lib.protocols.audit_search import Searched
from lib.protocols.copy_tests import near_counts, surplus
from lib.protocols.known_copiers import Draw

pytestmark = pytest.mark.usefixtures("fewer_repetitions")

TRUE = torch.zeros(1, dtype=torch.int64)


def rng_of(*seed):
    return np.random.default_rng(seed)


def images(n, seed, d=4, scale=1.0):
    return scale * torch.from_numpy(rng_of(seed).standard_normal((n, 1, 2, d // 2)))


def prepared(n=60, m=80, draws=99, seed=0, samples=None):
    sides = audit_lists.sides(images(n, [seed, 0]), images(n, [seed, 1]), n, seed=seed)
    made = images(m, [seed, 2]).flatten(1) if samples is None else samples(sides).flatten(1)
    members = audit_lists.lists(sides.points, sides.points, own=torch.arange(2 * n))
    divided = divisions(sides.labels, draws, rng=rng_of(seed, 3))
    return sides, made, members, divided, scores(divided, audit_lists.lists(made, sides.points), members)


# the lists of neighbours, and the sides


@pytest.mark.parametrize("own", [False, True])
def test_lists_are_those_of_all_distances(own):
    x = torch.randn(70, 5)
    among = x if own else torch.randn(40, 5)
    found = audit_lists.lists(x, among, 9, own=torch.arange(70) if own else None)
    every = (x[:, None] - among).square().sum(2).sqrt()
    if own:
        every.fill_diagonal_(torch.inf)
    expected = every.sort(1)
    torch.testing.assert_close(found.distance, expected.values[:, :9])
    assert torch.equal(found.which, expected.indices[:, :9])


def test_a_copy_in_single_precision_is_at_no_distance_however_far_from_the_origin():
    among = (torch.rand(300, 784) + 10).float()
    assert audit_lists.lists(among[:5], among).distance[:, 0].max() == 0


def test_the_first_of_some_members_may_be_beyond_the_list():
    found = audit_lists.lists(torch.zeros(1, 1), torch.tensor([[1.0], [2.0], [3.0]]), 2)
    distance, which = found.first(torch.tensor([False, True, True]))
    assert (distance.item(), which.item()) == (2.0, 1)
    assert found.first(torch.tensor([False, False, True]))[0].item() == math.inf


def test_sides_are_of_equal_number_and_keep_one_of_equal_images_whichever_side_it_is_of():
    train, held_out = images(50, 0), images(40, 1)
    train[1], held_out[:20] = train[0], train[2:22]
    found = [audit_lists.sides(train, held_out, 100, seed=seed) for seed in range(20)]
    assert all(len(each.train) == len(each.held_out) == len(each.images) // 2 for each in found)
    assert {(each.repeated, each.shared) for each in found} == {(21, 20)}
    assert all(audit_lists.distinct(each.images).all() for each in found)
    assert torch.equal(found[0].images[found[0].labels], train[found[0].train])
    kept = [int((each.train < 22).sum()) for each in found]
    assert min(kept) < max(kept)


def test_too_few_images_are_refused_with_their_number():
    with pytest.raises(
        ValueError, match="20 or more different images are needed on either side, got 40 training and 3"
    ):
        audit_lists.sides(images(40, 0), images(3, 1), 100, seed=0)


# the tests of samples


def test_real_images_of_a_source_of_their_own_show_the_preference_and_the_samples_of_that_source_add_nothing():
    p, preferred = [], []
    for seed in range(40):
        train, samples = images(60, [seed, 0]) + 0.5, images(60, [seed, 2]) + 0.5
        sides = audit_lists.sides(train, images(60, [seed, 1]), 60, seed=seed)
        members = audit_lists.lists(sides.points, sides.points, own=torch.arange(120))
        divided = divisions(sides.labels, 1, rng=rng_of(seed, 3))
        scored = scores(divided, audit_lists.lists(samples.flatten(1), sides.points), members)
        own = audit_samples.real(sides, members)
        listed = [Finding(name, Estimate(0.0, 0.0, 0.0, 9), None, 0.5, "high", "") for name in NAMES]
        found, joint = audit_samples.compared(listed, scored[:, 0], own, seed)
        p.append(joint)
        preferred.append(found[0].real.value)
    assert np.mean(preferred) > 0.55
    assert share(int((np.array(p) <= 0.05).sum()), 40).low <= 0.05


def test_blurred_samples_that_prefer_no_side_add_nothing_to_real_images():
    sides, _, members, divided, _ = prepared(n=60)
    blurred = audit_lists.lists(0.3 * images(80, 9).flatten(1), sides.points)
    listed = [Finding(name, Estimate(0.0, 0.0, 0.0, 9), None, 0.5, "high", "") for name in NAMES]
    found, joint = audit_samples.compared(
        listed, scores(divided, blurred, members)[:, 0], audit_samples.real(sides, members), 0
    )
    assert found[2].added.low > 0
    assert joint > 0.05


def test_a_real_image_is_compared_with_the_others_only():
    sides, _, members, *_ = prepared(n=40)
    own, train = audit_samples.real(sides, members), sides.points[:40]
    for row in (0, 17):
        kept = torch.arange(40) != row
        rest = torch.cat([train[kept], sides.points[40:]])
        alone = audit_lists.lists(train[row : row + 1], rest)
        others = audit_lists.lists(rest, rest, own=torch.arange(79))
        expected = scores((torch.arange(79) < 39)[None], alone, others)[:, 0, 0]
        exact = torch.tensor([0, 1, 3])  # of C_T, the others are compared with all training images
        torch.testing.assert_close(own[exact, row], expected[exact])
        torch.testing.assert_close(own[2, row], expected[2], atol=2 / 40, rtol=0)


def test_scores_are_the_measures_of_the_true_division():
    sides, made, _, _, scored = prepared()
    train, held_out = sides.points[sides.labels], sides.points[~sides.labels]
    mean = scored[:, 0].double().mean(1).tolist()
    own = [copying.nearest(x, train, 1)[0][:, 0] for x in (made, held_out)]
    expected = [
        copying.nearer_to_training(made, train, held_out),
        near_counts(made, Draw(None, train, held_out, None, (0, 0)), 1 / 3)[0].sum() / len(made),
        1 - auc(*(x.numpy() for x in own)),
        1 - copying.authenticity(made, train),
    ]
    assert mean == pytest.approx(expected, abs=1e-6)
    z = three_sample.ct(train, held_out, made, cells=1, rng=0)
    assert audit_controls.z_of(mean[2], len(made), len(held_out)) == pytest.approx(z)


def test_p_is_that_of_the_permutation_test_with_the_same_exchanges():
    sides, made, _, _, scored = prepared(samples=lambda sides: torch.cat([sides.images[:9], images(60, 9)]))
    draw = Draw(None, sides.points[sides.labels], sides.points[~sides.labels], None, (0, 0))
    counts = near_counts(made, draw, 1.0)
    p = permutation_p(surplus, *counts, draws=9999, rng=rng_of(0))
    many = divisions(sides.labels, 9999, rng=rng_of(1))
    lists = audit_lists.lists(made, sides.points)
    members = audit_lists.lists(sides.points, sides.points, own=torch.arange(len(sides.images)))
    ours = ranked(scores(many, lists, members).double().mean(2, keepdim=True), TRUE).p[0, 0]
    assert ours == pytest.approx(p, abs=4 * (p * (1 - p) / 9999) ** 0.5 * 2**0.5)
    assert scored.shape == (len(NAMES), 100, 69)


def shams_of(scale, count=200):
    found = [
        audit_controls.shams(
            images(60, [7, r]).flatten(1), images(50, [8, r], scale=scale).flatten(1), 4.0, seed=r, count=1
        )
        for r in range(count)
    ]
    return np.stack([each.p[:, 0] for each in found], 1), np.array([each.joint[0] for each in found])


@pytest.mark.parametrize("scale", [1.0, 0.3, 3.0])
def test_no_sampler_is_accused_beyond_the_level_by_any_test_or_by_all(scale):
    p, joint = shams_of(scale)
    for level in (0.05, 0.2, 0.5):
        error = (level * (1 - level) / p.shape[1]) ** 0.5
        assert (np.mean(p <= level + 1e-9, 1) <= level + 3.5 * error).all()
        assert np.mean(joint <= level + 1e-9) <= level + 3.5 * error


def test_p_of_shams_is_uniform_where_samples_are_as_held_out_images():
    p, joint = shams_of(1.0)
    jitter = rng_of(0).random((4, p.shape[1])) / 20  # p is a rank among 20
    for row in (0, 2, 3):
        assert kstest(p[row] - jitter[row], "uniform").pvalue > 1e-3, NAMES[row]
    assert kstest(joint - jitter[0], "uniform").pvalue > 1e-3


def test_a_test_that_no_exchange_moves_has_no_part_in_the_joint_p():
    values = torch.randn(1, 30, 5)
    both = ranked(torch.cat([values, torch.zeros(1, 30, 5)]), torch.arange(5))
    np.testing.assert_allclose(both.joint, both.p[0])
    assert ranked(torch.zeros(2, 30, 5), torch.arange(5)).joint.tolist() == [1.0] * 5


def test_copycats_are_seen_by_all_tests_and_disturbed_copies_not_by_that_of_near_copies():
    sides, _, members, divided, _ = prepared()
    found = audit_controls.copycats(audit_controls.copied(sides, members, divided, seed=0), sides.labels)
    assert {found[name]["exact"] for name in NAMES} == {0.01}
    far = {"exact": 0.01, "blurred": 1.0}
    control = audit_controls.control(far, np.array([0.5, 0.01]), np.array([1.0, 0.0]), "rule")
    assert control.blind == ["blurred"]
    assert (control.false_alarms.value, control.published.value) == (0.5, 0.5)


def test_planted_copies_weigh_as_samples_that_are_copies():
    sides, made, members, divided, scored = prepared(draws=30)
    copies = audit_controls.copied(sides, members, divided, seed=0)["exact"]
    few, all_ = (audit_controls.powers(scored, copies, divided, seed=1, trials=60)(number) for number in (1, len(made)))
    assert few < 0.3
    assert all_ == 1.0


def test_the_limit_is_the_smallest_number_that_is_seen_in_95_of_100_trials():
    found = audit_controls.limit("exact", lambda number: min(1.0, number / 100), 1000, 9)
    assert (found.copies, found.share) == (95, 0.095)
    assert [point[0] for point in found.power] == sorted(point[0] for point in found.power)
    blind = audit_controls.limit("exact", lambda _: 0.5, 1000, 9)
    assert (blind.copies, blind.share) == (None, None)


def test_copies_at_the_limit_are_found_in_95_percent_of_fresh_trials():
    _, made, _, divided, scored = prepared(n=100, m=200, draws=199)
    sides, _, members, *_ = prepared(n=100, m=200, draws=1)
    copies = audit_controls.copied(sides, members, divided, seed=0)["exact"]
    limit = audit_controls.limit(
        "exact", audit_controls.powers(scored, copies, divided, seed=1, trials=600), len(made), 600
    )
    fresh = np.mean(
        [audit_controls.powers(scored, copies, divided, seed=s, trials=100)(limit.copies) for s in range(2, 12)]
    )
    below = np.mean(
        [audit_controls.powers(scored, copies, divided, seed=s, trials=100)(limit.copies // 2) for s in (2, 3)]
    )
    assert 0.92 <= fresh <= 0.995
    assert below < 0.92


def test_the_dimension_is_that_of_the_data():
    flat = torch.randn(2000, 3) @ torch.randn(3, 20)
    found = audit_samples.dimension(audit_lists.lists(flat, flat, 2, own=torch.arange(2000)))
    assert found.low < 3.2
    assert found.high > 2.8


# each image


def test_copied_images_are_the_most_suspicious_and_are_named():
    train, held_out = images(100, 0), images(100, 1)
    samples = torch.cat([train[:20], images(50, 2)])
    found = audit(train, held_out, samples=samples).per_image
    assert set(found.image[:20].tolist()) == set(range(20))
    assert 20 <= found.named() <= 23
    assert found.p[:20].max() == pytest.approx(1 / 101)
    assert torch.equal(samples[found.sample[0]], train[found.image[0]])
    nearest = (held_out.flatten(1) - train[found.image[3]].flatten()).norm(dim=1)
    assert (int(found.held_out[3]), found.held_out_distance[3].item()) == (
        int(nearest.argmin()),
        pytest.approx(nearest.min().item()),
    )


def test_no_image_of_an_innocent_generator_is_named_more_often_than_the_rate():
    alarms = [
        audit_samples.per_image(sides, members, made).named() > 0
        for sides, made, members, *_ in (prepared(n=30, m=30, draws=1, seed=seed) for seed in range(100))
    ]
    assert share(sum(alarms), 100).low <= 0.05


# two sides


@pytest.mark.parametrize("statistic", [audit_two_sides.gap, audit_two_sides.lower])
def test_p_of_two_sides_is_uniform_among_shams(statistic):
    p = [audit_two_sides.shams(rng_of(1, r).lognormal(size=60), statistic, seed=r, count=1)[0][0] for r in range(200)]
    assert kstest(np.array(p) - rng_of(0).random(200) / 100, "uniform").pvalue > 1e-3
    assert share(int((np.array(p) <= 0.05).sum()), 200).low <= 0.05


def test_a_difference_is_found_with_its_sign_and_what_is_missing_is_counted():
    train, held_out = torch.rand(50), 1 + torch.rand(50)
    train[:3] = torch.nan
    found = audit_two_sides.finding("x", train, held_out, audit_two_sides.lower, "", unit="", seed=0)
    assert (found.p, found.value.missing) == (0.001, 3)
    assert found.value.value == pytest.approx(1, abs=0.2)
    assert found.null[0] < 0 < found.null[1] < found.value.low
    assert audit_two_sides.finding("x", held_out, train, audit_two_sides.lower, "", unit="", seed=0).p == 1
    with pytest.raises(ValueError, match="x needs 8 or more numbers on either side, got 5 and 50"):
        audit_two_sides.finding("x", train[:8], held_out, audit_two_sides.lower, "", unit="", seed=0)


def test_what_would_have_been_noticed_is_the_sum_of_both_errors_of_a_normal_test():
    sides = torch.from_numpy(rng_of(3).standard_normal((2, 200)))
    found = audit_two_sides.finding("x", *sides, audit_two_sides.lower, "", unit="", seed=0)
    assert found.noticed == pytest.approx(2 * 1.645 * (2 / 200) ** 0.5, rel=0.12)
    ratio = audit_two_sides.finding("x", *sides.exp(), audit_two_sides.gap, "", unit="", seed=0)
    assert 0 < ratio.noticed < 1
    shifted = audit_two_sides.finding("x", sides[0].exp() * (1 - ratio.noticed), sides[1].exp(), audit_two_sides.gap, "",
                                      unit="", seed=0)  # fmt: skip
    assert shifted.p < 0.05


# a decoder


def test_what_is_about_latents_is_that_of_the_measures_and_nan_where_the_rank_is_too_low():
    decoder, _ = affine(9, 3)
    z = torch.randn(5, 3)
    about = audit_decoder.local(lambda z: decoder(z) + 0.1 * decoder(z).sin(), z)
    expected = decay(lambda z: decoder(z) + 0.1 * decoder(z).sin(), z, rank=about.rank)
    torch.testing.assert_close(about.decay, expected)
    half = audit_decoder.local(lambda z: decoder(z * (z[:, :1] > 0)), z)
    dead = z[:, 0] <= 0
    assert torch.equal(half.log_volume.isnan(), dead)
    assert torch.equal(half.decay.isnan() | ~dead, torch.ones(5, dtype=torch.bool))


def test_a_point_whose_jacobian_is_not_finite_does_not_end_the_batch():
    found = audit_decoder.systems(lambda z: torch.cat([z.sqrt(), z], 1), torch.tensor([[1.0], [0.0], [4.0]]))[0]
    assert found.isnan()[:, 0].tolist() == [False, True, False]


def test_a_search_that_ends_where_it_starts_is_undecided_and_a_line_is_decided():
    line = searched(lambda z: z[..., None, None] * torch.ones(1, 1, 2, 2), torch.rand(10, 1, 2, 2), 1)
    assert line.decided
    assert line.steps == audit_search.STEPS[0]

    def waves(z):
        return (z * torch.tensor([40.0, 97.0, 151.0, 211.0])).sin().view(-1, 1, 2, 2)

    assert not searched(waves, torch.rand(20, 1, 2, 2), 1).decided


def searched(decoder, images, latent, batch=500):
    return audit_search.search(decoder, images, latent, seed=0, batch=batch, keep=lambda _, make: make())


def test_the_batch_bounds_what_a_decoder_makes_and_changes_no_number():
    decoder, _ = affine(4, 2)
    y = images(30, 0)
    counting, counts = counted(lambda z: decoder(z).view(-1, 1, 2, 2))
    few, all_ = (searched(counting, y, 2, batch) for batch in (7, 500))
    torch.testing.assert_close(few.error, all_.error)
    assert max(counts) == 60
    counts.clear()
    searched(counting, y, 2, 7)
    assert max(counts) == 7


def folded(z):
    """A decoder with many minima, and an operator that forward mode does not know."""
    waves = z @ torch.tensor([[40.0, 97.0, 151.0, 211.0], [61.0, 103.0, 29.0, 170.0]])
    return (waves.sin() + 0 * torch.cdist(z, torch.ones(1, 2))).view(-1, 1, 2, 2)


def test_a_decoder_of_the_principal_components_of_its_few_images_is_seen_and_its_samples_are_drawn():
    train, held_out = (torch.from_numpy(rng_of(seed).standard_normal((20, 1, 4, 4))) for seed in (0, 1))
    mean = train.flatten(1).mean(0)
    axes = torch.linalg.svd(train.flatten(1) - mean)[2][:12]
    found = audit(train, held_out, decoder=lambda z: (mean + z @ axes).view(-1, 1, 4, 4), latent=12)
    assert found.sections["decoder"].skipped == ""
    gap = found.sections["decoder"].findings[0]
    assert (gap.name, gap.p) == ("recovery gap", 0.001)
    assert gap.value.low > 0.3
    assert found.counts.compared_samples == 1000
    assert any("standard normal" in note for note in found.notes)
    assert found.pictures.made.shape == found.pictures.training.shape


def test_a_decoder_that_cannot_be_searched_is_undecided_and_keeps_what_could_be_measured():
    train, held_out = images(20, 0), images(20, 1)
    found = audit(train, held_out, decoder=folded, latent=2).sections["decoder"]
    assert found.findings[0].name == "recovery gap (undecided)"
    assert found.notes[0].startswith("Undecided: the search is what is measured")
    assert "not measured: Trying to use forward AD with _cdist_forward" in found.notes[-1]


def test_a_decoder_of_a_gaussian_is_not_accused():
    decoder, _ = affine(4, 2)
    found = audit(images(30, 0), images(30, 1), decoder=lambda z: decoder(z).view(-1, 1, 2, 2), latent=2)
    assert found.sections["decoder"].skipped == ""
    assert found.sections["decoder"].joint > 0.05
    assert found.sections["decoder"].findings[0].name == "recovery gap"


# an encoder, log p


def test_the_evidence_of_an_encoder_is_that_of_the_measure():
    def encode(x):
        return Normal(x.flatten(1) / 2, 0.5)

    def decoder(z):
        return z.view(-1, 1, 2, 2)

    train, held_out = images(40, 0), images(40, 1)
    section = audit_evidence.encoder(encode, decoder, train, held_out, seed=0)
    assert [each.name for each in section.findings] == ["reconstruction gap", "log probability"]
    scale = float((held_out / 2).square().flatten(1).mean(1).mean().sqrt())
    evidence = log_evidence(
        lambda x: Independent(encode(x), 1), lambda z: Independent(Normal(decoder(z), scale), 3), torch.cat([train, held_out]),
        audit_evidence.SAMPLES, generator=audit_evidence.rng_from("cpu", 0, 7),
    ).log_p  # fmt: skip
    assert section.findings[1].value.value == pytest.approx(float(evidence[:40].mean() - evidence[40:].mean()))
    assert "effective sample size" in section.notes[0]


def test_log_p_higher_on_training_images_is_seen():
    train, held_out = images(40, 0), images(40, 1)
    known = {tuple(x.flatten().tolist()) for x in train}

    def log_p(x):
        return torch.tensor([5.0 * (tuple(each.flatten().tolist()) in known) for each in x]) + torch.randn(len(x))

    found = audit(train, held_out, log_p=log_p)
    finding = found.sections["log p"].findings[0]
    assert finding.p == 0.001
    assert finding.value.low < 5 < finding.value.high
    assert found.sections["samples"].skipped == "none were given"


# the whole


@pytest.fixture(scope="module")
def copycat():
    train = images(60, 0)
    return audit(train, images(60, 1), samples=train[torch.randint(60, (80,))])


def test_a_copycat_is_flagged_by_every_test_of_samples(copycat):
    section = copycat.sections["samples"]
    assert [each.p for each in section.findings[:4]] == [0.005] * 4
    assert section.joint == 0.005
    assert all(each.control.positive["exact"] <= 0.01 for each in section.findings[:4])


def test_what_was_not_given_is_skipped_with_a_reason(copycat):
    skipped = {name: section.skipped for name, section in copycat.sections.items()}
    assert skipped == {
        "samples": "",
        "decoder": "none was given",
        "encoder": "none was given",
        "log p": "none was given",
        "several models": "none was given",
    }
    alone = audit(images(20, 0), images(20, 1), samples=images(20, 2), encode=lambda x: x.flatten(1))
    assert alone.sections["encoder"].skipped == "it needs a decoder"


def test_a_model_that_fails_is_a_reason_and_not_the_end():
    def fails(z):
        raise RuntimeError("out\nof order")

    found = audit(images(20, 0), images(20, 1), samples=images(20, 2), decoder=fails, latent=2, log_p=lambda x: x)
    assert found.sections["decoder"].skipped == "it failed: out of order"
    assert found.sections["log p"].skipped == "it failed: log p has 160 numbers for 40 images; expected one each"
    assert found.sections["samples"].findings
    assert found.pictures.made is None


def test_the_same_seed_gives_the_same_audit():
    one, two = (audit(images(30, 0), images(30, 1), samples=images(30, 2), seed=4) for _ in range(2))
    assert one.sections == two.sections
    assert one.limits == two.limits


def test_duplicates_are_counted_before_they_are_left_out():
    train = images(40, 0)
    train[:4] = train[4]
    found = audit(train, images(40, 1), samples=images(30, 2))
    duplicates = found.sections["samples"].findings[-1]
    assert (duplicates.name, duplicates.value.value) == ("duplicates in training", 5 / 40)
    assert found.counts.repeated == 4


def test_several_tests_are_one_by_bonferroni():
    some = [Finding("a", Estimate(0.0, 0.0, 0.0, 9), None, p, "high", "") for p in (0.02, None, 0.5)]
    assert audit_two_sides.joint(some) == 0.04
    assert audit_two_sides.joint([]) is None


def test_what_a_place_among_others_does_to_a_number_is_no_evidence(monkeypatch):
    def by_place(decoder, images, latent, **_):
        return Searched(torch.zeros(len(images), latent), 1 + torch.arange(float(len(images))), 50, 1.0, 1.0)

    monkeypatch.setattr(audit_decoder, "search", by_place)
    train, held_out = torch.rand(2, 60, 1, 2, 2)
    how = {"data_dimension": 2.0, "forward": False, "batch": 500, "keep": lambda _, make: make()}
    p = [
        audit_decoder.measure(lambda z: z.view(-1, 1, 2, 2), train, held_out, 4, seed=seed, **how).findings[0].p
        for seed in range(3)
    ]
    assert max(p) > 0.05
    assert min(p) > 0.001
