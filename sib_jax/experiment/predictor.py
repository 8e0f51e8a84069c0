"""A trained head as a function: labelled examples and unlabelled queries to probabilities."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax import number
from sib_jax.backbones.encoder import Encoder
from sib_jax.backbones.pretrained import Extractor, Pretrained
from sib_jax.data.given_images import AT_ONCE, joined
from sib_jax.experiment import export, memory
from sib_jax.experiment.predictor_inputs import (
    Images,
    Labels,
    PredictionError,
    check_many,
    checked_features,
    checked_labels,
    is_features,
    pictures,
    prepare,
)
from sib_jax.methods import Method
from sib_jax.on_host import on_host
from sib_jax.runtime import programs, seeds
from sib_jax.sib import gradient_net
from sib_jax.sib.params import Params
from sib_jax.tasks.episode import Episode

_BATCH = 256  # images at once
_MANY = 4000  # queries, whose square takes enough memory to be checked
_LARGE_ARRAYS = 3  # [n, n] arrays in memory at once, at least, in methods that make them
_SAMPLES = 100  # of a Gaussian posterior, for the spread


class Prediction(NamedTuple):
    """The answer to n queries.

    Attributes:
      classes: the k classes, in the order of the columns, then the base classes if asked for.
      probabilities: [n, k] or [n, k + b], rows sum to 1.
      spread: standard deviation of each probability over samples of the posterior, of the same
        shape; None where the posterior is a point mass, or the method has none.
    """

    classes: tuple[Any, ...]
    probabilities: np.ndarray
    spread: np.ndarray | None

    @property
    def labels(self) -> list[Any]:
        """The most probable class of each query, n of them."""
        return [self.classes[column] for column in self.probabilities.argmax(axis=1)]


class TrainedHead(NamedTuple):
    """A method with its parameters, for any number of ways that it serves.

    Attributes:
      name: of the head.
      make: number of ways k -> the method.
      params: its parameters.
      ways: the only k that the parameters are for; None for any.
      features: the only length of features that the parameters are for; None for any.
      base: names of the base classes beside which it was trained; none in the standard setting.
      most_ways: the largest k that it is good for; None for any.
      input_shape: of one input of its training; None where unknown.
    """

    name: str
    make: Callable[[int], Method]
    params: Any
    ways: int | None
    features: int | None = None
    base: tuple[str, ...] = ()
    most_ways: int | None = None
    input_shape: tuple[int, ...] | None = None


class Predictor:
    """Classifies queries among classes of which a few examples are given. Made by `sib_jax.load`.

    Most methods learn from the queries too, without labels: give all queries of a task together.

    Attributes:
      head: the method and its parameters.
      pretrained: the backbone; None where an encoder takes its place, or the inputs are features.
      image_size: pixels that images are scaled to before the backbone's own crop.
      remedy: returns what to do where the head does not serve a number of classes.
      encoder: what makes features of images where there is no backbone; None for no encoder.
      notes: what a user should know of how it was chosen, a sentence each.
    """

    def __init__(  # noqa: D107
        self,
        head: TrainedHead,
        pretrained: Pretrained | None,
        image_size: int,
        remedy: Callable[[], str] = lambda: "",
        encoder: Encoder | None = None,
        notes: tuple[str, ...] = (),
    ):
        self.head, self.pretrained, self.encoder = head, pretrained, encoder
        self.image_size, self.remedy, self.notes = image_size, remedy, notes
        self._of_ways = functools.cache(self._compiled)
        self._sizes: set[Any] = set()  # that programs were compiled for

    @property
    def name(self) -> str:
        """What it is, in words."""
        method = self.head.make(self.head.ways or 2)
        steps = "" if method.steps is None else f" with T = {method.steps}"
        head = "" if self.head.name == method.name else f" (head {self.head.name})"
        return f"{method.name}{steps}{head}"

    def __reduce__(self) -> Any:
        """Raises TypeError: compiled programs cannot be pickled."""
        raise TypeError(
            "a predictor cannot be pickled: call sib_jax.load in each process, or export() it"
        )

    def __call__(
        self,
        support: Images,
        support_labels: Labels,
        query: Images,
        *,
        seed: int = 0,
        base_classes: bool = False,
    ) -> np.ndarray:
        """Probabilities of the queries.

        Args:
          support: m examples, any number of each class: uint8 images [m, h, w, c] of any size, with
            c = 1, 3 or 4; a list of images [h, w, c] of several sizes, or of Pillow images, which
            are read as files are; or float features [m, d], an array of any library.
          support_labels: their classes, m whole numbers or strings.
          query: n images or features likewise.
          seed: for the samples of a Gaussian posterior.
          base_classes: whether a query may also be of a class that the head was trained beside
            (learning without forgetting).

        Returns:
          float32 [n, k], the columns in the order of `classes(support_labels)`: numerical or
          alphabetical. With `base_classes` [n, k + b], those of `head.base` after them.

        Raises:
          PredictionError: examples, labels or queries that the head or the backbone cannot read or
            does not serve, or more than memory holds; the message says what is wanted.
        """
        found = self.predict(support, support_labels, query, seed=seed, base_classes=base_classes)
        return found.probabilities

    def predict(
        self,
        support: Images,
        support_labels: Labels,
        query: Images,
        *,
        seed: int = 0,
        base_classes: bool = False,
    ) -> Prediction:
        """The same, with the classes named, and with the spread over a Gaussian posterior.

        Arguments and errors are those of a call.
        """
        if base_classes and not self.head.base:
            raise PredictionError(
                f"head {self.head.name} was not trained beside base classes; "
                "one of setting lwof is (--config=experiments/lwof_5w1s.py)"
            )
        support, query = on_host(support), on_host(query)
        support_labels = on_host(support_labels)
        check_many(support, "support")
        check_many(query, "query")
        if len(support) == 0:
            raise PredictionError("there are no examples")
        labels = checked_labels(support_labels)
        classes, rows = np.unique(labels, return_inverse=True)
        if base_classes and (both := set(classes.tolist()) & set(self.head.base)):
            raise PredictionError(
                f"{', '.join(sorted(both))} is a base class already: give the new class another "
                "name"
            )
        if len(labels) != len(support):
            raise PredictionError(f"there are {len(support)} examples, but {len(labels)} labels")
        if len(classes) < 2:
            raise PredictionError("examples of 2 classes or more are needed, got 1")
        if len(query) == 0:
            raise PredictionError("there are no queries")
        if not number.is_whole(seed) or not 0 <= seed <= seeds.LARGEST:
            raise PredictionError(
                f"seed must be a whole number in 0..{seeds.LARGEST}, got {seed!r}"
            )
        self._check_balanced(len(classes), len(query))
        answer = self._of_ways(len(classes), base_classes)
        examples, queries = self._inputs(support, query)
        task = examples, jnp.asarray(rows.ravel(), jnp.int32), queries, jax.random.key(seed)
        if (size := (len(classes), base_classes, len(examples), len(queries))) not in self._sizes:
            self._check_memory(answer, task, len(queries))
            programs.make_room()
            self._sizes.add(size)
        found, spread = answer(*task)
        probabilities = np.asarray(found)
        if not np.isfinite(probabilities).all():
            raise PredictionError(
                f"{self.name} gives probabilities that are not finite: the features may be too "
                "large for it"
            )
        return Prediction(
            (*classes.tolist(), *(self.head.base if base_classes else ())),
            probabilities,
            None if spread is None else np.asarray(spread),
        )

    def _check_balanced(self, ways: int, queries: int) -> None:
        if self.method(ways)[0].balances and queries < ways:
            raise PredictionError(
                f"{self.name} assigns every class the same number of queries, so {queries} queries "
                f"among {ways} classes are too few: give {ways} or more, or choose soft_kmeans"
            )

    def _check_memory(self, answer: Callable[..., Any], task: Any, queries: int) -> None:
        """Raises where a method that compares all pairs of queries needs too much memory."""
        if queries < _MANY or (room := memory.free_bytes(of_one=True)) is None:
            return
        need = _LARGE_ARRAYS * memory.of_largest(answer, *task)
        if need > room:
            raise PredictionError(
                f"for {queries} queries at once {self.name} needs at least {need / 1e9:,.1f} GB of "
                f"memory, but only {room / 1e9:,.1f} GB are available: give fewer at once, or "
                "choose soft_kmeans or simple_shot"
            )

    def classes(self, support_labels: Labels) -> tuple[Any, ...]:
        """The class of each column: the distinct labels, sorted."""
        return tuple(np.unique(checked_labels(on_host(support_labels))).tolist())

    def __repr__(self) -> str:
        """What it is and what it reads."""
        if self.encoder is not None:
            reads = f"images under {self.encoder.name}"
        elif self.pretrained is not None:
            reads = f"images under a {self.pretrained.backbone.name}"
        else:
            reads = "features"
        return f"<Predictor: {self.name}, of {reads}>"

    def features(self, images: Images) -> np.ndarray:
        """Features of images, float32 [n, d]; predictions accept them in place of the images.

        Args:
          images: uint8 [n, h, w, c] of any size, or a list of [h, w, c].

        Raises:
          PredictionError: there is neither backbone nor encoder, or these are not images.
          EncoderError: what the encoder gives are not features.
          DataError: it gives features of several lengths.
        """
        images = on_host(images)
        check_many(images, "images")
        if len(images) == 0:
            raise PredictionError("there are no images")
        if self.encoder is not None:
            starts = range(0, len(images), AT_ONCE)
            parts = (pictures(images[start : start + AT_ONCE]) for start in starts)
            return joined([self.encoder.features(part) for part in parts])
        if self.pretrained is None:
            raise PredictionError(
                "this predictor has no backbone: give float features [n, d] of one model, not "
                "images, or load with encoder=, which makes features of images"
            )
        stored = prepare(images, self.image_size, self.pretrained.backbone.channels)
        found = [
            _batch_features(self.pretrained, stored[start : start + _BATCH])
            for start in range(0, len(stored), _BATCH)
        ]
        return np.concatenate(found)

    def method(self, ways: int) -> tuple[Method, Any]:
        """The method for k = `ways`, and its parameters.

        Raises:
          PredictionError: the head is for another number of classes.
        """
        params = self.head.params
        if self.head.ways not in (None, ways):
            raise PredictionError(
                f"there are {ways} classes in the support set, but head {self.head.name} was "
                f"trained for tasks of {self.head.ways} classes{self.remedy()}"
            )
        if self.head.most_ways is not None and ways > self.head.most_ways:
            raise PredictionError(
                f"there are {ways} classes in the support set, but head {self.head.name} is good "
                f"for at most {self.head.most_ways}{self.remedy()}"
            )
        method = self.head.make(ways)
        if method.steps == 0 and isinstance(params, Params):  # SIB's theta^0 serves any number
            # xi is never used, but the number of its logits is taken as the number of ways.
            params = params._replace(gradient_net=gradient_net.init(jax.random.key(0), ways=ways))
        return method, params

    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (size, size, channels) of an image as it is stored, or (d,).

        Raises:
          PredictionError: d is unknown.
        """
        if self.pretrained is not None:
            return (self.image_size, self.image_size, self.pretrained.backbone.channels)
        if self.head.input_shape is None:
            raise PredictionError(
                "the length of the features is unknown: give features=D to export"
            )
        return self.head.input_shape

    def export(
        self, path: str | Path, *, ways: int | None = None, features: int | None = None
    ) -> None:
        """Writes a file that computes probabilities with only JAX.

        Args:
          path: of the file, for `jax.export.deserialize`, see `experiment.export`.
          ways: k; needed where the head serves any number of classes.
          features: length d of the features; needed where neither backbone nor head says it. The
            file does not contain an encoder.

        Raises:
          PredictionError: the method or its number of classes cannot be exported.
          FileError: the file cannot be written.
        """
        ways = self.head.ways if ways is None else ways
        if ways is None:
            raise PredictionError(
                "this head serves any number of classes, but a file only one: give ways=K"
            )
        if not number.is_whole(ways) or ways < 2:
            raise PredictionError(f"ways must be a whole number of 2 or more, got {ways!r}")
        if self.head.base:
            raise PredictionError("a head that was trained beside base classes cannot be exported")
        if features is not None and self.pretrained is not None:
            raise PredictionError("features is only for use with a predictor without a backbone")
        if features is not None and self.head.features not in (None, features):
            raise PredictionError(
                f"head {self.head.name} is for features of length {self.head.features}: leave "
                f"features out, which is {features!r}"
            )
        if features is not None and not (number.is_whole(features) and features > 0):
            raise PredictionError(f"features must be the features' length d, got {features!r}")
        method, params = self.method(ways)
        shape = self.input_shape() if features is None else (int(features),)
        export.write(path, method, params, shape, self.pretrained)

    def _inputs(self, support: Images, query: Images) -> tuple[np.ndarray, np.ndarray]:
        """What the method reads, of both; images go through the backbone together."""
        of_features = is_features(support), is_features(query)
        if of_features[0] != of_features[1]:
            raise PredictionError("support and query must both be images, or both features")
        if self.head.make(self.head.ways or 2).reads == "images":
            if of_features[0]:
                raise PredictionError(f"head {self.head.name} reads images, not features")
            if self.pretrained is not None:
                channels = self.pretrained.backbone.channels
                parts = (prepare(part, self.image_size, channels) for part in (support, query))
                return next(parts), next(parts)
        if not of_features[0]:
            found = self.features([*support, *query])
            support, query = found[: len(support)], found[len(support) :]
        of_backbone = None if self.pretrained is None else self.pretrained.backbone.features
        length = self.head.features or of_backbone
        whose = "the head was trained on" if self.head.features else "the backbone gives"
        both = [checked_features(part, length, whose) for part in (support, query)]
        if both[0].shape[1] != both[1].shape[1]:
            raise PredictionError(
                f"support has features of length {both[0].shape[1]}, query of "
                f"{both[1].shape[1]}: they must come from the same model"
            )
        return both[0], both[1]

    def _compiled(
        self, ways: int, base_classes: bool
    ) -> Callable[..., tuple[jax.Array, jax.Array | None]]:
        method, params = self.method(ways)
        base = jnp.arange(len(self.head.base)) if self.head.base else None
        columns = ways + (len(self.head.base) if base_classes else 0)
        return jax.jit(functools.partial(_probabilities, method, columns, params, base))


def _probabilities(
    method: Method,
    columns: int,
    params: Any,
    base: jax.Array | None,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array | None]:
    """For the first so many classes, and their spread where the posterior is a Gaussian."""
    episode = Episode(support, support_labels, query, base=base)
    logits = method.logits(params, episode, key)
    if np.ndim(logits) != 2 or len(logits) != len(query) or logits.shape[1] < columns:
        raise PredictionError(
            f"{method.name} must give logits [{len(query)}, {columns}], a row for each query and a "
            f"column for each class, but gives {list(np.shape(logits))}"
        )
    probabilities = jax.nn.softmax(logits[:, :columns])
    if method.samples is None:
        return probabilities, None
    sampled = method.samples(params, episode, key, _SAMPLES)[..., :columns]
    return probabilities, jnp.std(jax.nn.softmax(sampled), axis=0)


def _batch_features(pretrained: Pretrained, images: np.ndarray) -> np.ndarray:
    """Features of at most `_BATCH` images, padded to a power of 2: few programs serve any number.

    On one device of one process, since the other processes may not be predicting.
    """
    filled = np.zeros((1 << (len(images) - 1).bit_length(), *images.shape[1:]), np.uint8)
    filled[: len(images)] = images
    found = _features_here(pretrained.extractor, pretrained.variables, filled)
    if not np.isfinite(found).all():
        raise PredictionError("the backbone gives features that are not finite; use other weights")
    return np.asarray(found)[: len(images)]


@functools.partial(jax.jit, static_argnums=0)
def _features_here(extractor: Extractor, variables: Any, images: jax.Array) -> jax.Array:
    return extractor(variables, images).astype(jnp.float32)
