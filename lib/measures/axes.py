"""The axis vocabulary: every tensor in this package is one of these.

``batch``   points measured side by side, independent of each other
``latent``  coordinates of the latent space, unit: one standard deviation of the prior
``pixels``  coordinates of the output, flattened; unit: that of the decoder's output ("output units")
``values``  singular values in descending order, at most ``min(pixels, latent)``
``points``  samples along a path

The aliases are checked at run time in the tests only (jaxtyping's import hook), so they cost nothing elsewhere.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "batch latent"]
Outputs = Float[Tensor, "batch *output"]
Images = Float[Tensor, "batch channels height width"]
Jacobians = Float[Tensor, "batch pixels latent"]
SingularValues = Float[Tensor, "batch values"]
PerSample = Float[Tensor, " batch"]
Along = Float[Tensor, "batch points"]
Curves = Float[Tensor, "batch points latent"]

Decoder = Callable[[Tensor], Tensor]
"""Any map from a batch of latents ``[batch, latent]`` to a batch of outputs ``[batch, *output]``.

Each output may depend on its own latent only (a network with batch normalisation must be in evaluation mode).
"""
