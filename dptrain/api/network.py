"""Networks by their settings, without data and training."""

from __future__ import annotations

from dptrain.api.settings import Setting, in_python, texts
from dptrain.config import SECTION_OF
from dptrain.configfile import resolve
from dptrain.errors import UsageError
from dptrain.nn import ImageShape, describe
from dptrain.nn import build_network as build
from dptrain.nn.network import Network


@in_python()
def build_network(*, image: tuple[int, int, int], classes: int, **settings: Setting) -> Network:
    """`image`: (height, width, channels); settings are those of [model] and `networks`, as `fit` takes them.

    Raises UsageError for a network that cannot be. `fit` builds its own, from the same settings.
    """
    for name in settings:
        if SECTION_OF.get(name, "model") != "model" and name != "networks":
            raise UsageError(f"{name} = {settings[name]!r} is no setting of a network: leave it to `fit`")
    config = resolve(flags=texts(settings))
    return build(config.model, _shape(image), classes, config.deployment.networks)


def _shape(image: object) -> ImageShape:
    match image:
        case [int(height), int(width), int(channels)] if min(height, width, channels) > 0:
            return ImageShape(height, width, channels)
    raise UsageError(f"image = {image!r}: must be (height, width, channels), such as (28, 28, 1)")


def describe_network(network: Network) -> str:
    """A line a layer: what goes in, what comes out, what it learns; and their sum."""
    return "\n".join(describe.table(describe.describe(network)))
