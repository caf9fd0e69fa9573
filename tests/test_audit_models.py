"""Several models: what training with an image does to its log p, and what chance does."""

import math

import pytest
import torch
from scipy.stats import kstest

from lib.measures import memorization
from lib.measures.intervals import share
from lib.measures.membership import lira, roc
from lib.protocols import audit_models


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    monkeypatch.setattr(audit_models, "EXCHANGES", 99)


def folds(models, images, rise, seed):
    """Models of different quality, each trained with half of the images, which raises log p."""
    rng = torch.Generator().manual_seed(seed)
    trained = torch.stack([torch.randperm(models, generator=rng) < models // 2 for _ in range(images)], 1)
    quality, difficulty = (torch.randn(size, generator=rng) for size in ((models, 1), (1, images)))
    noise = torch.randn(models, images, generator=rng)
    return -90 + quality + 5 * difficulty + noise + rise * trained, trained


def test_the_score_is_that_of_the_measure_for_folds():
    log_p = torch.randn(2, 3, 7)  # repeats, folds, images
    held_out = torch.randint(3, (2, 7))
    expected = memorization.score(*memorization.split(log_p, held_out))
    trained = torch.arange(3)[:, None] != held_out[:, None]
    torch.testing.assert_close(audit_models.score(log_p.flatten(0, 1), trained.flatten(0, 1)), expected)


def test_a_rise_is_seen_by_both_and_raises_the_score_by_as_much():
    found = [audit_models.measure(*folds(8, 60, rise, 0), seed=0) for rise in (0.0, 3.0)]
    assert [each.p for each in found[1].findings] == [0.01, 0.01]
    difference = found[1].findings[0].value.value - found[0].findings[0].value.value
    assert difference == pytest.approx(3.0)
    assert found[1].findings[0].noticed < 3.0
    assert found[1].findings[1].value.low > 0.6


def test_areas_are_those_of_the_measure():
    log_p, trained = folds(6, 30, 1.0, 0)
    scores = lira(log_p, ~trained, pooled=True, correction=1)
    expected = [roc(score[of], score[~of]).auc for score, of in zip(scores, trained, strict=True)]
    assert audit_models.attacks(log_p, trained) == pytest.approx(expected, abs=1e-6)


def test_p_is_uniform_where_training_does_nothing(monkeypatch):
    monkeypatch.setattr(audit_models, "EXCHANGES", 19)
    found = [audit_models.measure(*folds(6, 20, 0.0, seed), seed=seed).findings for seed in range(60)]
    for column in torch.tensor([[each.p for each in listed] for listed in found]).T:
        assert kstest(column - torch.rand(60) / 20, "uniform").pvalue > 1e-3
        assert share(int((column <= 0.05).sum()), 60).low <= 0.05


def test_too_few_models_are_blind_and_a_fold_of_one_repeat_has_no_attack():
    log_p = torch.randn(3, 20)
    trained = torch.arange(3)[:, None] != torch.arange(20) % 3
    found = audit_models.measure(log_p, trained, seed=0)
    assert [each.name for each in found.findings] == ["K-fold score"]
    assert "attack was not measured" in found.notes[1]
    assert found.findings[0].control.blind == [audit_models.COPYCAT]
    assert found.findings[0].noticed is None


def test_what_cannot_be_compared_is_refused():
    log_p, trained = folds(4, 9, 0.0, 0)
    with pytest.raises(ValueError, match="1 images have models on one side only"):
        audit_models.measure(log_p, trained | (torch.arange(9) == 2), seed=0)
    with pytest.raises(ValueError, match="1 log p are not finite"):
        audit_models.measure(torch.where(torch.arange(36).view(4, 9) == 5, math.nan, log_p), trained, seed=0)
