"""Networks by their settings, without data and training."""

from __future__ import annotations

from dptrain.api.settings import Setting, texts
from dptrain.configfile import resolve
from dptrain.nn import ImageShape, describe
from dptrain.nn import build_network as build
from dptrain.nn.network import Network


def build_network(*, image: tuple[int, int, int], classes: int, **settings: Setting) -> Network:
    """`image`: (height, width, channels); settings are those of [model] and `networks`, as `fit` takes them.

    Raises UsageError for a network that cannot be. `fit` builds its own, from the same settings.
    """
    config = resolve(flags=texts(settings))
    return build(config.model, ImageShape(*image), classes, config.deployment.networks)


def describe_network(network: Network) -> str:
    """A line a layer: what goes in, what comes out, what it learns; and their sum."""
    return "\n".join(describe.table(describe.describe(network)))
