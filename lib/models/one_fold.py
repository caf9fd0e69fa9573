"""One model of a repeat of K-fold cross-validation, fitted alone: a part of a long fit that a laptop can check."""

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lib.models.data import Dataset
from lib.models.draws import rng_from
from lib.models.ensemble import advance, assemble, evaluate
from lib.models.kfold import KFold, _batches, _drawn, folds


def losses(spec: KFold, fold: int, dataset: Dataset, device: str) -> Float[Tensor, "epochs 2"]:
    """The losses of one model over training, as :class:`lib.models.kfold.Repeat` has them.

    The models of a repeat share no weight and no random number, so it is the same model, but for the rounding of sums
    that are taken for one model in place of all.

    Args:
        spec: of the repeat.
        fold: which of its models: the one that is not trained with this fold.
        dataset: the data.
        device: the device to train on.
    """
    index = spec.index(len(dataset.train), dataset.name)
    images, test = (spec.padded(x).to(device) for x in (dataset.train[index], dataset.test[: spec.test_images or None]))
    held_out = folds(len(images), spec.folds, seed=spec.seed, repeat=spec.repeat).to(device)
    alone = assemble([spec.build(images.shape[1:], fold).to(device)])
    optimizer = torch.optim.Adam(alone.weights.values(), lr=spec.rate, fused=True)
    rng = rng_from(device, spec.seed, spec.stream.BATCHES, spec.repeat, fold)
    noise = torch.randn(len(test), spec.latent, generator=rng_from(device, spec.seed, spec.stream.LOSS), device=device)
    ends = []
    for _ in tqdm(range(spec.epochs), desc=f"repeat {spec.repeat}, fold {fold}", unit="epoch"):
        rows = _batches(held_out, fold, spec.batch, rng)
        steps = [advance(alone, optimizer, *_drawn(spec, images, [row], [rng])) for row in rows]
        ends.append(torch.cat([torch.stack(steps).mean(0), evaluate(alone, spec.observed(test, 1), noise)]))
    return torch.stack(ends)
