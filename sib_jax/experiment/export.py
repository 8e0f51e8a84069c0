"""A predictor as one file that runs where JAX is, without this package: `jax.export`.

    predictor.export("birds.jax")

    import jax
    program = jax.export.deserialize(bytearray(Path("birds.jax").read_bytes()))
    probabilities = program.call(support, support_labels, query)

Both need the package flatbuffers. Support [m, size, size, c] and query [n, size, size, c] are uint8
images of the size of the run (or float32 features [m, d] and [n, d]), labels int32 [m] in 0..k-1; m
and n are any numbers.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from sib_jax.runtime import files
from sib_jax.tasks.episode import Episode

if TYPE_CHECKING:
    from sib_jax.experiment.predictor import Predictor

_PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: str | Path, predictor: "Predictor", ways: int | None) -> None:
    """Writes the program and all its weights.

    Args:
      path: of the file.
      predictor: what it computes; with one class more or less it is another program.
      ways: k, needed where the head serves any number of classes.

    Raises:
      PredictionError: the number of classes is not said, or the head does not serve it; or it has
        to do with base classes, or its inputs have a length that nothing tells; or the method is
        another program for each number of examples or queries.
    """
    from sib_jax.experiment.predictor import PredictionError

    path = Path(path).expanduser()
    ways = ways or predictor.head.ways
    if ways is None:
        raise PredictionError("for how many classes? This head serves any number: give ways=K")
    if not isinstance(ways, int | np.integer) or ways < 2:
        raise PredictionError(f"ways must be a whole number of 2 or more, got {ways!r}")
    if predictor.head.base:
        raise PredictionError("a head that was trained beside base classes cannot be exported")
    method, params = predictor.method(ways)
    shape = predictor.input_shape()
    scope = jax_export.SymbolicScope()
    m, n = (jax_export.symbolic_shape(name, scope=scope)[0] for name in ("m", "n"))
    dtype = jnp.uint8 if len(shape) == 3 else jnp.float32
    arguments = (
        jax.ShapeDtypeStruct((m, *shape), dtype),
        jax.ShapeDtypeStruct((m,), jnp.int32),
        jax.ShapeDtypeStruct((n, *shape), dtype),
    )

    def program(support: jax.Array, support_labels: jax.Array, query: jax.Array) -> jax.Array:
        if predictor.pretrained is not None and method.reads == "features":
            extract, variables = predictor.pretrained.extractor, predictor.pretrained.variables
            support, query = extract(variables, support), extract(variables, query)
        episode = Episode(support, support_labels, query, support_labels)
        return jax.nn.softmax(method.logits(params, episode, jax.random.key(0)))

    try:
        exported = jax_export.export(jax.jit(program), platforms=_PLATFORMS)(*arguments)
    except Exception as error:  # shapes that are not known fail in any way there is
        raise PredictionError(
            f"{method.name} cannot be exported for any number of examples and queries: "
            f"{files.one_line(error)}"
        ) from error
    try:
        content = bytes(exported.serialize())
    except ImportError as error:
        raise PredictionError(f"to export: pip install flatbuffers ({error})") from error
    files.write_atomically(path, lambda file: file.write(content))
