"""The papers' architectures. ``encode`` and ``decode`` return distributions; ``generate`` is the decoder to measure."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal


class ConvVAE(nn.Module):
    r"""The variational autoencoder of Feiszli 2017, section 5.3.

    "Several convolutional layers with ReLU and max-pooling, followed by fully-connected layers to compute means and
    log-variances", then "fully-connected layers and transposed convolutions with strides (each with ReLU)" and a final
    tanh: images in [-1, 1], :math:`p(x | z) = N(f(z), v I)`, prior :math:`z \sim N(0, I)`.

    The paper leaves the sizes and the variance open. Ours: two convolutions of ``width`` and ``2 width`` channels, a
    hidden layer of ``hidden`` units on either side, and the same two sizes backwards.

    Args:
        shape: channels, height and width of an image; height and width are multiples of four.
        latent: latents. The paper has 100.
        width: channels at full resolution.
        hidden: units of the fully-connected layers.
        variance: ``v``, of each pixel, in squared output units.

    Raises:
        ValueError: height or width cannot be halved twice.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int, hidden: int, variance: float) -> None:
        super().__init__()
        channels, height, breadth = shape
        if height % 4 or breadth % 4:
            raise ValueError(
                f"height and width must be multiples of 4, got {height} x {breadth}; pad or crop the images"
            )
        self.scale = variance**0.5
        coarse = (2 * width, height // 4, breadth // 4)
        features = coarse[0] * coarse[1] * coarse[2]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
            nn.ReLU(),
            nn.Unflatten(1, coarse),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def encode(self, x: Float[Tensor, "batch *shape"]) -> Distribution:
        """The posterior q(z | x) of images in [-1, 1]."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return Independent(Normal(mean, (log_variance / 2).exp()), 1)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Distribution:
        """The likelihood p(x | z)."""
        return Independent(Normal(self.generate(z), self.scale), 3)

    def generate(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *shape"]:
        """The mean of p(x | z): the generator whose image carries the density."""
        return self.decoder(z)
