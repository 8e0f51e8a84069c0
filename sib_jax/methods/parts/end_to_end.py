"""Turns any method on features into one on images, with a Conv4 of its own that is learned with it.

Batch normalization uses the statistics of the episode, support set and queries together, in both
training and evaluation, so a method stays a pure function of parameters and episode. This makes
every such method transductive; the papers keep running statistics for evaluation instead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sib_jax import backbones
from sib_jax.methods.method import Classes, Method
from sib_jax.sib import checks
from sib_jax.tasks.episode import Episode

BACKBONE = "conv4_64"


class EndToEnd(NamedTuple):
    """Parameters of the network, and those of the method on its features."""

    network: Any
    head: Any


def embed(network: Any, images: jax.Array) -> jax.Array:
    """Features, normalised by the statistics of these images.

    Args:
      network: parameters of the Conv4.
      images: uint8 [n, size, size, channels].

    Returns:
      [n, d].
    """
    backbone = backbones.make(BACKBONE, image_size=images.shape[1], channels=images.shape[3])
    # Running statistics are required, but not read in training.
    stats = {
        name: {"mean": jnp.zeros_like(layer["bias"]), "var": jnp.ones_like(layer["bias"])}
        for name, layer in network.items()
        if "bias" in layer
    }
    pixels = images.astype(jnp.float32) / 255
    return backbone.apply_train({"params": network, "batch_stats": stats}, pixels)[0]


def of(method: Method) -> Method:
    """The method on images; its name gets "end to end"."""

    def init(key: jax.Array, classes: Classes) -> EndToEnd:
        network_key, head_key = jax.random.split(key)
        size, _, channels = classes.shape
        backbone = backbones.make(BACKBONE, image_size=size, channels=channels)
        network = backbone.init(network_key)["params"]
        return EndToEnd(network, method.init(head_key, Classes((backbone.features,), classes.base)))

    def embedded(network: Any, episode: Episode) -> Episode:
        checks.episode(episode)
        support = checks.images("support", episode.support)
        query = checks.images("query", episode.query)
        features = embed(network, jnp.concatenate([support, query]))
        count = support.shape[0]
        return episode._replace(support=features[:count], query=features[count:])

    def logits(params: EndToEnd, episode: Episode, key: jax.Array) -> jax.Array:
        return method.logits(params.head, embedded(params.network, episode), key)

    def loss(
        params: EndToEnd, episode: Episode, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        assert method.loss is not None
        return method.loss(params.head, embedded(params.network, episode), key)

    return method._replace(
        name=f"{method.name} end to end", init=init, logits=logits, loss=loss, reads="images"
    )
