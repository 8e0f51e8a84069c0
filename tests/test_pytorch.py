"""Agreement with the numbers that the official PyTorch code gave (tests/parity/README.md)."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import backbones, pytorch
from sib_jax.config import ConfigError
from sib_jax.official import checkpoint, torch_file
from sib_jax.sib.inner_loop import Inner

PARITY = Path(__file__).parent / "parity"
VALUES = 4e-5
GRADIENTS = 1e-3  # of the largest entry of each

HEADS = sorted(p.name for p in PARITY.glob("sib_*.npz"))


def _head(arrays, prefix):
    return pytorch.load_head(
        {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    )


def _episode(arrays):
    names = ("support", "support_labels", "query", "query_labels")
    support, support_labels, query, query_labels = (arrays[n][0] for n in names)
    return sib_jax.Episode(
        support, support_labels.astype(np.int32), query, query_labels.astype(np.int32)
    )


def test_all_heads_are_here():
    assert len(HEADS) == 8


@pytest.mark.parametrize("name", HEADS)
def test_head_agrees_with_the_official_one(name):
    arrays = dict(np.load(PARITY / name))
    params, episode = _head(arrays, "param/"), _episode(arrays)
    options = {"steps": int(arrays["steps"]), "step_size": float(arrays["inner_lr"])}

    @jax.jit
    def run(params):
        support, labels = episode.support, episode.support_labels
        start = sib_jax.initial_posterior(params, support, labels, ways=int(arrays["ways"]))
        end = sib_jax.adapt(params, start, episode.query, **options)
        return start, end, sib_jax.logits(params, end, episode.query)

    start, end, scores = run(params)
    np.testing.assert_allclose(start.mean, arrays["theta0"][0], rtol=VALUES, atol=VALUES)
    np.testing.assert_allclose(end.mean, arrays["thetaT"][0], rtol=VALUES, atol=VALUES)
    np.testing.assert_allclose(scores, arrays["scores"][0], rtol=VALUES, atol=VALUES)

    def mean_cross_entropy(params):
        return sib_jax.negative_elbo(params, episode, **options)[0] / len(episode.query)

    loss, gradient = jax.jit(jax.value_and_grad(mean_cross_entropy))(params)
    np.testing.assert_allclose(loss, arrays["loss"], rtol=VALUES)
    # The bias shifts all logits alike, which softmax ignores: its gradient is rounding noise, 1e-7.
    wanted = _head({k: v for k, v in arrays.items() if k.startswith("grad/")}, "grad/")
    for found, want in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        found, want = np.asarray(found), np.asarray(want)
        assert np.abs(found - want).max() < GRADIENTS * np.abs(want).max() + 1e-6


def test_checkpoint_file_holds_head_and_backbone():
    arrays = dict(np.load(PARITY / "sib_checkpoint_5w1s_T3.npz"))
    params = pytorch.load_head(PARITY / "netSIBBest70.000.pth")
    expected = _head(arrays, "param/")
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    apply, variables = pytorch.load_backbone(PARITY / "netSIBBest70.000.pth")
    assert apply(variables, jnp.zeros((1, 80, 80, 3))).shape == (1, 1600)


def test_backbone_file_gives_the_official_features():
    arrays = np.load(PARITY / "conv4_feat_pth.npz")
    apply, variables = pytorch.load_backbone(PARITY / "netFeatBest64.653.pth")
    features = apply(variables, jnp.asarray(arrays["images_nchw"].transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(features, arrays["features"], rtol=VALUES, atol=VALUES)


@pytest.mark.parametrize("form", ["wrn16_2_80", "wrn16_2_32_cifar"])
def test_wide_residual_network_gives_the_official_features(form, tmp_path):
    folder = os.environ.get("SIB_JAX_PARITY")
    if not folder:
        pytest.skip("SIB_JAX_PARITY names no folder with the larger parity files")
    from sib_jax import backbones
    from sib_jax.official import names as official_names

    arrays = np.load(Path(folder) / f"{form}.npz")
    state = {k.removeprefix("param/"): arrays[k] for k in arrays.files if k.startswith("param/")}
    images = arrays["images_nchw"].transpose(0, 2, 3, 1)
    backbone = backbones.make(official_names.infer_backbone(state), image_size=images.shape[1])
    variables = official_names.variables_from_official(backbone, state)
    features = backbone.apply(variables, jnp.asarray(images))
    np.testing.assert_allclose(features, arrays["features"], rtol=VALUES, atol=VALUES)


UNUSED = ("dni.layer1.2.running", "dni.layer2.2.running")


def test_what_is_written_has_the_official_names_and_values(tmp_path):
    official = torch_file.read(PARITY / "netSIBBest70.000.pth")
    params = pytorch.load_head(PARITY / "netSIBBest70.000.pth")
    backbone, variables = checkpoint.read_backbone(PARITY / "netSIBBest70.000.pth")
    pytorch.save_head(tmp_path / "netSIB.pth", params, backbone, variables)
    pytorch.save_backbone(tmp_path / "netFeat.pth", backbone, variables)
    written = torch_file.read(tmp_path / "netSIB.pth")
    assert written["lr"] == 1e-3
    assert written["nbStep"] == 3
    assert pytorch.load_inner(tmp_path / "netSIB.pth") == Inner(3, 1e-3, beta=0.0)
    assert written.keys() == official.keys()
    for part in ("netFeat", "SIB"):
        assert written[part].keys() == official[part].keys()
        for name, array in written[part].items():
            assert array.shape == official[part][name].shape
            # The head's own statistics, and all counts of steps, are written but used by nobody.
            if not name.endswith("tracked") and not name.startswith(UNUSED):
                np.testing.assert_array_equal(array, official[part][name])
    again = pytorch.load_backbone(tmp_path / "netFeat.pth")[1]
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_what_the_official_code_lacks_is_not_written(tmp_path):
    backbone = backbones.make("conv4_64", image_size=80, final_relu=False)
    with pytest.raises(ValueError, match="end in a ReLU"):
        pytorch.save_backbone(tmp_path / "a.pth", backbone, {})
    params = sib_jax.init(jax.random.key(0), ways=2, features=3, posterior="gaussian")
    with pytest.raises(ValueError, match="a point mass from the support set"):
        pytorch.save_head(tmp_path / "b.pth", params)


def test_a_head_for_images_of_another_size_is_told(tmp_path):
    backbone = backbones.make("conv4_64", image_size=32)
    variables = backbone.init(jax.random.key(0))
    params = sib_jax.init(jax.random.key(1), ways=2, features=backbone.features)
    path = tmp_path / "netSIB.pth"
    pytorch.save_head(path, params, backbone, variables)
    with pytest.raises(ConfigError, match=r"length 256, .* gives 1600; give image_size=32"):
        sib_jax.load(backbone=path, method="sib")
    with pytest.raises(ConfigError, match="steps must be 0 or more, got -1"):
        sib_jax.load(backbone=path, method="sib", image_size=32, steps=-1)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    found = sib_jax.load(backbone=path, method="sib", image_size=32)(images, [0, 1], images)
    assert found.shape == (2, 2)


def test_missing_parts_are_named():
    with pytest.raises(ValueError, match=r"scale_cls.*missing"):
        pytorch.load_head({"bias": np.zeros(1)})
    with pytest.raises(ValueError, match=r"netFeatBest64\.653\.pth: this is not an official head"):
        pytorch.load_head(PARITY / "netFeatBest64.653.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_cls": np.ones(2)}, r"scale_cls must be one number, got shape \(2,\)"),
        (
            {"dni.layer2.0.weight": np.ones((40, 3))},
            "the arrays of this head do not fit each other",
        ),
        ({"dni.layer1.0.bias": np.ones(7)}, "the arrays of this head do not fit each other"),
        ({"wnLayerFavg.weight": np.ones((5, 5))}, "the arrays of this head do not fit each other"),
    ],
)
def test_a_head_whose_arrays_do_not_fit(change, message):
    arrays = dict(np.load(PARITY / HEADS[0]))
    state = {n.removeprefix("param/"): a for n, a in arrays.items() if n.startswith("param/")}
    with pytest.raises(pytorch.StateDictError, match=message):
        pytorch.load_head({**state, **change})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({1: np.ones(2)}, "holds no 'SIB'; it has 1"),
        ({"SIB": np.ones(2)}, "holds no 'SIB'; it has SIB"),
        ({"SIB": {"bias": np.ones(1)}}, "not an official head .* missing"),
    ],
)
def test_files_of_something_else(content, message, monkeypatch, tmp_path):
    monkeypatch.setattr(torch_file, "read", lambda path: content)
    with pytest.raises(pytorch.StateDictError, match=message):
        pytorch.load_head(tmp_path / "netSIB.pth")


def test_a_number_of_steps_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(torch_file, "read", lambda path: {"nbStep": np.ones(2)})
    with pytest.raises(pytorch.StateDictError, match="nbStep and lr must be numbers"):
        pytorch.load_inner(tmp_path / "netSIB.pth")
