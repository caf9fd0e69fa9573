r"""The density that a decoder induces on its image.

For latents :math:`z \sim N(0, I)` and :math:`x = f(z)`, with :math:`\sigma_1 \ge \sigma_2 \ge \dots` the singular
values of the Jacobian at ``z``, Feiszli 2017 (equation 2) takes

.. math:: \log \tilde p(x) = \log p(z) - \sum_{i \le r} \log \sigma_i .

The rank ``r`` is a decision, and it sets the unit: nats per (output unit)^r. Densities of different rank cannot be
compared, so the rank is one integer for all points of a call, and a threshold that moves it has a function of its own.
"""

import math

import torch

from lib.measures.axes import Along, Decoder, Latents, PerSample, SingularValues
from lib.measures.jacobian import singular_values


def log_density(decoder: Decoder, z: Latents, rank: int | None = None, *, chunk: int | None = None) -> PerSample:
    r"""Log density on the image, :math:`\log N(z; 0, I) - \sum_{i \le r} \log \sigma_i(z)`, in nats.

    Args:
        decoder: any map from ``[batch, latent]`` to ``[batch, *output]``.
        z: latents.
        rank: ``r``, the number of singular values that count; by default all ``min(pixels, latent)`` of them.
        chunk: points at a time, see :func:`lib.measures.jacobian.jacobian`.

    Raises:
        ValueError: ``rank`` is impossible, or some point has fewer than ``rank`` singular values above rounding.

    Source: Feiszli 2017, equations 1 and 2.

    Example:
        Twice as wide, so half as dense: log N(0; 0, 1) - log 2.

        >>> log_density(lambda z: 2 * z, torch.zeros(1, 1))
        tensor([-1.6121])
    """
    return log_density_from(singular_values(decoder, z, chunk=chunk), decoder, z, rank)


def log_density_from(spectrum: SingularValues, decoder: Decoder, z: Latents, rank: int | None) -> PerSample:
    """:func:`log_density`, from singular values that are there already.

    Example:
        >>> z = torch.zeros(1, 2)
        >>> log_density_from(torch.tensor([[2.0, 1.0]]), torch.sin, z, 1) - log_prior(z)
        tensor([-0.6931])
    """
    rank = spectrum.shape[1] if rank is None else rank
    check_rank(spectrum, rank, pixels=decoder(z[:1]).numel())
    return log_prior(z) - spectrum[:, :rank].log().sum(1)


def log_prior(z: Latents) -> PerSample:
    r"""The standard normal prior :math:`\log N(z; 0, I)`, in nats.

    Example:
        >>> log_prior(torch.tensor([[0.0], [1.0]]))
        tensor([-0.9189, -1.4189])
    """
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def log_density_by_rank(z: Latents, spectrum: SingularValues) -> Along:
    """:func:`log_density` for every rank at once: column ``r - 1`` is rank ``r``, infinite past a point's own rank.

    Example:
        >>> z = torch.zeros(1, 2)
        >>> log_density_by_rank(z, torch.tensor([[4.0, 0.5]])) - log_prior(z)
        tensor([[-1.3863, -0.6931]])
    """
    return log_prior(z)[:, None] - spectrum.log().cumsum(1)


def log_density_by_threshold(z: Latents, spectrum: SingularValues, threshold: float, *, relative: bool) -> PerSample:
    r"""The density with every singular value below a threshold "considered to be zero" (Feiszli 2017, section 3).

    The rank then differs from point to point, and with it the unit of the density: to be shown, not to be used.

    Args:
        z: latents.
        spectrum: singular values at ``z``.
        threshold: the largest singular value that counts as zero, in output units per latent unit.
        relative: take ``threshold`` as a share of each point's largest singular value.

    Example:
        >>> z = torch.zeros(1, 2)
        >>> log_density_by_threshold(z, torch.tensor([[4.0, 0.5]]), 0.2, relative=True) - log_prior(z)
        tensor([-1.3863])
    """
    floor = threshold * spectrum[:, :1] if relative else threshold
    return log_prior(z) - torch.where(spectrum > floor, spectrum, 1.0).log().sum(1)


def check_rank(spectrum: SingularValues, rank: int, *, pixels: int) -> None:
    """Refuse a rank that the decoder does not have.

    Raises:
        ValueError: ``rank`` is outside ``1..min(pixels, latent)``, or below rounding at some points, which are counted.

    Example:
        >>> check_rank(torch.tensor([[3.0, 0.0]]), 2, pixels=5)
        Traceback (most recent call last):
            ...
        ValueError: the Jacobian has rank 1 at the worst of 1 of 1 points; rank=2 was asked for
    """
    largest = spectrum.shape[1]
    if not 1 <= rank <= largest:
        raise ValueError(
            f"rank must be in 1..{largest} for this decoder (the smaller of latents and pixels), got {rank}"
        )
    # The usual tolerance of a numerical rank: what rounding alone can leave of a zero singular value.
    floor = spectrum[:, :1] * max(pixels, largest) * torch.finfo(spectrum.dtype).eps
    ranks = (spectrum > floor).sum(1)
    short = ranks < rank
    if short.any():
        raise ValueError(
            f"the Jacobian has rank {int(ranks.min())} at the worst of {int(short.sum())} of {len(spectrum)} points; "
            f"rank={rank} was asked for"
        )
