"""Writes a predictor as one file that runs with JAX but without this package (`jax.export`).

    predictor.export("birds.jax")

    import jax
    program = jax.export.deserialize(bytearray(Path("birds.jax").read_bytes()))
    probabilities = program.call(support, support_labels, query)

Both need the package flatbuffers. Support [m, size, size, c] and query [n, size, size, c] are uint8
images of the size of the run (or float32 features [m, d] and [n, d]), labels int32 [m] in 0..k-1; m
and n may be any numbers.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from sib_jax.backbones.pretrained import Pretrained
from sib_jax.experiment.predictor_inputs import PredictionError
from sib_jax.methods import Method
from sib_jax.runtime import files
from sib_jax.runtime.words import one_line
from sib_jax.tasks.episode import Episode

_PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    path: str | Path,
    method: Method,
    params: Any,
    shape: tuple[int, ...],
    pretrained: Pretrained | None,
) -> None:
    """Writes the program and all its weights.

    Args:
      path: of the file.
      method: for a fixed number of classes; the program serves no other number.
      params: its parameters.
      shape: of one input.
      pretrained: the backbone; None where inputs are features.

    Raises:
      PredictionError: the method's program depends on the number of examples or queries.
      FileError: the file cannot be written.
    """
    path = Path(path).expanduser()
    scope = jax_export.SymbolicScope()
    m, n = (jax_export.symbolic_shape(name, scope=scope)[0] for name in ("m", "n"))
    dtype = jnp.uint8 if len(shape) == 3 else jnp.float32
    arguments = (
        jax.ShapeDtypeStruct((m, *shape), dtype),
        jax.ShapeDtypeStruct((m,), jnp.int32),
        jax.ShapeDtypeStruct((n, *shape), dtype),
    )

    def program(support: jax.Array, support_labels: jax.Array, query: jax.Array) -> jax.Array:
        if pretrained is not None and method.reads == "features":
            extract, variables = pretrained.extractor, pretrained.variables
            support, query = extract(variables, support), extract(variables, query)
        episode = Episode(support, support_labels, query)
        return jax.nn.softmax(method.logits(params, episode, jax.random.key(0)))

    try:
        exported = jax_export.export(jax.jit(program), platforms=_PLATFORMS)(*arguments)
    except Exception as error:  # unknown shapes can fail in any way
        raise PredictionError(
            f"{method.name} cannot be exported, because its program depends on the numbers of "
            f"examples and queries ({one_line(error)}); soft_kmeans, simple_shot and heads "
            "of SIB can be"
        ) from error
    try:
        content = bytes(exported.serialize())
    except ImportError as error:
        raise PredictionError(
            f"export needs the package flatbuffers: pip install flatbuffers ({error})"
        ) from error
    files.write_bytes(path, content)
