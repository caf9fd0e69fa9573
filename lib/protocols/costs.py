"""What a measure costs: seconds for one image, of a model that is there."""

import time
from collections.abc import Callable

from lib.measures.axes import Decoder, Images, PerSample
from lib.measures.jacobian import singular_values
from lib.measures.likelihood import log_evidence
from lib.measures.paths import decay
from lib.measures.recovery import recover
from lib.models.convolutional import ConvVAEFit
from lib.models.draws import rng_from
from lib.protocols.seen_or_not import How, nearest_generated


def of_vae(fit: ConvVAEFit, images: Images, how: How) -> dict[str, float]:
    """Seconds for an image of what :func:`lib.protocols.seen_or_not.of_vae` measures, each measure by itself.

    The images that a model makes are made for all at once, so that their time depends on the number of images little.

    Args:
        fit: the model.
        images: in [0, 1]; some tens are enough.
        how: sizes.
    """
    model, place = fit.model, next(fit.model.parameters()).device
    x, rng = model.observe(images).to(place), rng_from(place, fit.spec.seed)
    z = model.encode(x).mean.detach()
    decoder: Decoder = model.generate
    search = {"latent": z.shape[1], "steps": how.iterations, "scale": how.start, "rng": rng}
    measures: dict[str, Callable[[], PerSample]] = {
        "reconstruction": lambda: decoder(model.encode(x).mean),
        "log p(x)": lambda: log_evidence(model.encode, model.decode, x, how.samples, generator=rng),
        "latent recovery": lambda: recover(decoder, x, **search),
        "nearest generated": lambda: nearest_generated(decoder, x, z.shape[1], how.generated, fit.spec.seed),
        "density": lambda: singular_values(decoder, z),
        "sharp peak": lambda: decay(decoder, z, rank=how.rank, radii=how.radii),
    }
    return {name: _seconds(measure) / len(x) for name, measure in measures.items()}


def _seconds(measure: Callable[[], object]) -> float:
    started = time.perf_counter()
    measure()
    return time.perf_counter() - started
