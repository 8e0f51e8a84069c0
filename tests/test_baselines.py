"""Agreement with the numbers that Gidaris and Komodakis's code gave (tests/parity/README.md)."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax import baselines, classifier

PARITY = Path(__file__).parent / "parity"
close = lambda found, want: np.testing.assert_allclose(found, want, rtol=4e-5, atol=4e-5)  # noqa: E731


def _episodes(arrays):
    for support, labels, query in zip(
        arrays["support"], arrays["support_labels"], arrays["query"], strict=True
    ):
        yield jnp.asarray(support), jnp.asarray(labels.astype(np.int32)), jnp.asarray(query)


@pytest.mark.parametrize("name", ["prototypical", "matching"])
def test_metric_learners(name):
    arrays = np.load(PARITY / f"{name}.npz")
    logits = getattr(baselines, f"{name}_logits")
    scale = arrays["param/scale_cls"][0]
    for episode, want in zip(_episodes(arrays), arrays["scores"], strict=True):
        close(logits(*episode, ways=5, scale=scale), want)


@pytest.mark.parametrize("name", ["average", "attention"])
def test_weight_generators(name):
    arrays = np.load(PARITY / f"lwof_{name}.npz")
    p = {k.removeprefix("param/"): jnp.asarray(arrays[k]) for k in arrays.files}
    cosine = classifier.Cosine(p["scale_cls"][0], p["bias"][0])
    for i, (support, labels, query) in enumerate(_episodes(arrays)):
        ids = arrays["base_ids"][i]
        base = p["weight_base"][ids]
        if name == "average":
            generator = baselines.Average(p["wnLayerFavg.weight"])
        else:
            generator = baselines.Attention(
                p["wnLayerFavg.weight"],
                p["wnLayerWatt.weight"],
                p["attblock.queryLayer.weight"].T,
                p["attblock.queryLayer.bias"],
                p["attblock.wkeys"][ids],
                p["attblock.scale_att"][0],
            )
        novel = baselines.novel_weights(generator, support, labels, base, ways=5)
        weights = jnp.concatenate([base, novel])
        close(weights, arrays["weights"][i])
        close(classifier.logits(cosine, weights, query), arrays["scores"][i])
