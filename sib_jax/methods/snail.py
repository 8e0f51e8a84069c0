"""SNAIL: an episode is read as a sequence, by alternating causal convolutions and attention.

The sequence is the support examples with their labels, then one query without; the output at the
query's place is its scores. Every query has a sequence of its own. But nothing looks ahead, so all
sequences agree in what they compute for the support set: it is computed once, and a query's place
reads from it. (For 25 support examples and 75 queries, 100 places instead of 1950.)

Differences from the paper:
  It is on frozen features, brought to the length sqrt(d), rather than trained from images; with
  `end_to_end` a Conv4 is learned too, which is smaller than the paper's residual network.
  The support set is shuffled for every episode, because episodes here list it class by class.

References:
  Mishra et al., "A simple neural attentive meta-learner", ICLR 2018 (arXiv 1707.03141), section 3
    and appendix B for the sizes.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts import end_to_end
from sib_jax.methods.parts.checked import checked
from sib_jax.sib.classifier import normalize
from sib_jax.tasks.episode import Episode


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      filters: of each causal convolution.
      keys: sizes of keys and queries of the three attentions.
      values: sizes of their values.
      shots: support examples per class that the sequence is made for: the convolutions reach back
        over as many. Episodes may have other numbers.
      end_to_end: whether the features are of a Conv4 that is learned too, else frozen.
    """

    filters: int = 128
    keys: tuple[int, int, int] = (64, 256, 512)
    values: tuple[int, int, int] = (32, 128, 256)
    shots: int = 5
    end_to_end: bool = False


class Linear(NamedTuple):
    """x @ weights + bias.

    Attributes:
      weights: [inputs, outputs].
      bias: [outputs].
    """

    weights: jax.Array
    bias: jax.Array


class Attention(NamedTuple):
    """Causal attention, whose result is appended to its input."""

    query: Linear
    key: Linear
    value: Linear


class Dense(NamedTuple):
    """Gated causal convolution of two places, whose result is appended to its input.

    The weights are those of the place some steps back, then those of the place itself.
    """

    new: Linear
    gate: Linear


class Snail(NamedTuple):
    """Parameters: attention, convolutions, attention, convolutions, attention, last layer."""

    attentions: tuple[Attention, Attention, Attention]
    convolutions: tuple[tuple[Dense, ...], tuple[Dense, ...]]
    last: Linear


class Places(NamedTuple):
    """What is at each place of the sequences.

    Attributes:
      support: of the support examples, which all sequences share, [m, c].
      query: of the last place, for each query, [n, c].
    """

    support: jax.Array
    query: jax.Array


def init(key: jax.Array, settings: Settings, *, inputs: int, ways: int) -> Snail:
    """Draws all parameters from -1 / sqrt(fan in) to 1 / sqrt(fan in), as PyTorch does.

    Args:
      key: PRNG key.
      settings: hyper-parameters.
      inputs: numbers at each place, d + k.
      ways: k.
    """
    keys = iter(jax.random.split(key, 256))
    size = inputs

    def linear(inputs: int, outputs: int) -> Linear:
        bound = 1 / math.sqrt(inputs)
        shapes = ((inputs, outputs), (outputs,))
        return Linear(
            *(jax.random.uniform(next(keys), s, minval=-bound, maxval=bound) for s in shapes)
        )

    def attention(keys: int, values: int) -> Attention:
        nonlocal size
        made = Attention(linear(size, keys), linear(size, keys), linear(size, values))
        size += values
        return made

    def convolutions() -> tuple[Dense, ...]:
        nonlocal size
        made = []
        for _ in range(math.ceil(math.log2(ways * settings.shots + 1))):
            made.append(Dense(*(linear(2 * size, settings.filters) for _ in range(2))))
            size += settings.filters
        return tuple(made)

    attend = [*zip(settings.keys, settings.values, strict=True)]
    first, reads = attention(*attend[0]), convolutions()
    second, reads_again = attention(*attend[1]), convolutions()
    third = attention(*attend[2])
    return Snail((first, second, third), (reads, reads_again), linear(size, ways))


def attend(params: Attention, places: Places) -> tuple[Places, jax.Array, jax.Array]:
    """Appends to every place a mean of the values at it and before it.

    Args:
      params: of the attention.
      places: c numbers at each.

    Returns:
      Places of c + v numbers; and the weights: of the support's places on one another, [m, m], and
      of the query's place on the support's and itself, [n, m + 1].
    """
    keys, values = _map(params.key, places), _map(params.value, places)
    wanted = _map(params.query, places)
    root = math.sqrt(keys.support.shape[1])
    m = places.support.shape[0]
    fit = wanted.support @ keys.support.T / root
    shared = jax.nn.softmax(jnp.where(jnp.tri(m, dtype=bool), fit, -jnp.inf), axis=1)
    itself = jnp.sum(wanted.query * keys.query, axis=1, keepdims=True)
    own = jnp.concatenate([wanted.query @ keys.support.T, itself], axis=1) / root
    own = jax.nn.softmax(own, axis=1)
    read = Places(shared @ values.support, own[:, :m] @ values.support + own[:, m:] * values.query)
    return _append(places, read), shared, own


def convolve(params: Dense, places: Places, dilation: int) -> Places:
    """Appends to every place tanh(new) sigmoid(gate), of it and the place `dilation` before it.

    Args:
      params: of the convolution.
      places: c numbers at each.
      dilation: how far it looks back; there are zeros before the first place.

    Returns:
      Places of c + filters numbers.
    """
    m, c = places.support.shape

    def linear(linear: Linear) -> Places:
        # The place before is a support example for all places: its product is computed once.
        before = jnp.pad(places.support @ linear.weights[:c], ((dilation, 0), (0, 0)))
        itself = _map(Linear(linear.weights[c:], linear.bias), places)
        return Places(before[:m] + itself.support, before[m][None] + itself.query)

    new, gate = linear(params.new), linear(params.gate)
    return _append(
        places,
        Places(*(jnp.tanh(a) * jax.nn.sigmoid(b) for a, b in zip(new, gate, strict=True))),
    )


def run(params: Snail, places: Places) -> Places:
    """Scores at every place, each from only the places up to it.

    Args:
      params: of the network.
      places: d + k numbers at each.

    Returns:
      Places of k numbers.
    """
    for attention, convolutions in zip(params.attentions, (*params.convolutions, ()), strict=True):
        places = attend(attention, places)[0]
        for i, dense in enumerate(convolutions):
            places = convolve(dense, places, 2 ** (i + 1))
    return _map(params.last, places)


def logits(
    params: Snail,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Scores of the queries; the order of the support examples matters.

    Args:
      params: of the network.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      [n, k].
    """
    length = math.sqrt(support.shape[1])
    labels = jax.nn.one_hot(support_labels, ways, dtype=support.dtype)
    unknown = jnp.zeros((query.shape[0], ways), query.dtype)
    places = Places(
        jnp.concatenate([length * normalize(support), labels], axis=1),
        jnp.concatenate([length * normalize(query), unknown], axis=1),
    )
    return run(params, places).query


def make(settings: Settings, ways: int) -> Method:
    """SNAIL on features, or on images where it is end to end."""
    if len(settings.keys) != 3 or len(settings.values) != 3:
        raise ValueError("keys and values must be three sizes each, one for each attention")

    def start(key: jax.Array, classes: Classes) -> Snail:
        return init(key, settings, inputs=classes.shape[0] + ways, ways=ways)

    def of_episode(params: Snail, episode: Episode, key: jax.Array) -> jax.Array:
        episode = checked(episode, ways)
        order = jax.random.permutation(key, episode.support.shape[0])
        support, labels = episode.support[order], episode.support_labels[order]
        return logits(params, support, labels, episode.query, ways=ways)

    method = Method("snail", start, of_episode, cross_entropy(of_episode))
    return end_to_end.of(method) if settings.end_to_end else method


def _map(linear: Linear, places: Places) -> Places:
    return Places(*(x @ linear.weights + linear.bias[None] for x in places))


def _append(a: Places, b: Places) -> Places:
    return Places(*(jnp.concatenate(pair, axis=1) for pair in zip(a, b, strict=True)))
