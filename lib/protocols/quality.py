"""Has a generator learnt what images there are? A bar is at most one for a generator that has.

Above it, what a test does not see in the generator says nothing. How well it makes an image is another bar,
:func:`lib.protocols.gaps.over_components`.
"""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import entropy
from sklearn.neural_network import MLPClassifier

from lib.measures.axes import Images
from lib.measures.intervals import Estimate, difference


def uninformative(network: MLPClassifier, generated: Images, held_out: Images, *, seed: int) -> Estimate:
    r"""Four fifths of what held-out images tell of their class, over what generated images tell.

    What images tell is the mutual information of image and class under a classifier, the logarithm of an inception
    score: high where every image is of a class without doubt, and all classes occur,

    .. math:: I = H\big(\mathbb{E}_x\, p(c | x)\big) - \mathbb{E}_x\, H\big(p(c | x)\big) .

    Args:
        network: the classifier.
        generated: images of the generator.
        held_out: images that it was not trained on.
        seed: seed of the bootstrap over both.
    """
    made, real = (network.predict_proba(images.flatten(1).cpu().numpy()) for images in (generated, held_out))
    every = (torch.arange(len(images), dtype=torch.float64) for images in (made, real))
    return difference(*every, partial(_ratio, made, real), seed=seed)


def _ratio(
    made: np.ndarray, real: np.ndarray, first: np.ndarray, second: np.ndarray, axis: int = -1
) -> np.ndarray | np.floating:
    """Of the images at these places among the made and the real ones."""
    return 0.8 * information(real[second.astype(int)]) / information(made[first.astype(int)])


def information(probabilities: Float[np.ndarray, "*sets images classes"]) -> Float[np.ndarray, "*sets"] | np.floating:
    """Mutual information of image and class in nats, from the probabilities of the classes for each image."""
    return entropy(probabilities.mean(-2), axis=-1) - entropy(probabilities, axis=-1).mean(-1)


def worst(*bars: Estimate) -> Estimate:
    """The bar that is missed by most, or passed by least."""
    return max(bars, key=lambda bar: bar.high)
