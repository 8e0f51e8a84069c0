"""Features of another model in place of images: no backbone, no pretraining."""

import functools

import jax
import numpy as np
import pytest

import sib_jax
from sib_jax.config import default, steps
from sib_jax.errors import UserError
from sib_jax.experiment import job
from sib_jax.methods import laplacian_shot, simple_shot


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(15), 10)
    centres = rng.standard_normal((15, 24))
    # Far from 1, as some models have them: half precision would overflow when squared.
    features = 300 * (centres[labels] + 0.8 * rng.standard_normal((150, 24)))
    split = np.array(["train", "val", "test"])[labels // 5]
    np.savez(tmp_path / "own.npz", features=features.astype(np.float16), labels=labels, split=split)
    config = default("features")
    config.data_dir = str(tmp_path / "own.npz")
    config.ways, config.queries = 3, 3
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 1, 5
    config.optimizer.val_tasks = 20
    config.eval.val_tasks, config.eval.test_tasks, config.eval.batch = 20, 100, 20
    config.heads = (
        *steps(1),
        ("prototypes", {"method": "simple_shot"}),
        ("lwof", {"method": "weight_generator", "setting": "lwof"}),
    )
    config.base_holdout = 0.5
    return config


def test_every_method_runs_on_them(config, tmp_path):
    rows = job.run(config, tmp_path / "run")
    assert {row["backbone"] for row in rows} == {None}
    for row in rows:
        assert row["novel"]["mean"] > 60  # three clusters; chance is 33 %
    assert not (tmp_path / "run" / "backbone.npz").exists()


@pytest.mark.parametrize("module", [simple_shot, laplacian_shot])
def test_the_mean_of_the_base_classes_is_subtracted_and_kept(config, tmp_path, module):
    """Also by a predictor, which has no base classes, and where a run is evaluated again."""
    name = module.__name__.rpartition(".")[2]
    fields = {"method": name, f"{name}.normalization": "CL2N", f"{name}.centre": "base"}
    config.heads, config.base_holdout = (("centred", fields), ("episode", {"method": name})), 0.0
    rows = job.run(config, tmp_path / "run")
    assert [row["method"].endswith("base mean") for row in rows] == [True, True, False, False]
    assert [r["novel"] for r in job.run(config, tmp_path / "run", "evaluate")] == [
        r["novel"] for r in rows
    ]
    with np.load(config.data_dir) as stored:
        features = stored["features"].astype(float)
        base, rest = (features[stored["split"] == split] for split in ("train", "test"))
    labels = np.repeat(np.arange(3), 10)
    episode = np.asarray(rest[:30], np.float32), labels, np.asarray(rest[:30] + 5, np.float32)
    found = sib_jax.load(tmp_path / "run", head="centred")(*episode)
    centre = base.mean(axis=0).astype(np.float32)
    settings = module.Settings(normalization="CL2N")
    logits = jax.jit(functools.partial(module.logits, settings, ways=3))
    want, other = (jax.nn.softmax(logits(*episode, **c)) for c in ({"centre": centre}, {}))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, other)
    (tmp_path / "run" / "heads" / "centred.npz").unlink()
    with pytest.raises(UserError, match=r"head centred of .* is not fitted yet"):
        sib_jax.load(tmp_path / "run", head="centred")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"simple_shot.centre": "base"}, "centre is 'base', but L2N subtracts no mean: set"),
        ({"simple_shot.centre": "all"}, "unknown centre 'all'; known are 'episode' and 'base'"),
    ],
)
def test_a_centre_that_cannot_be_subtracted_is_refused(config, tmp_path, fields, message):
    config.heads = (("centred", {"method": "simple_shot", **fields}),)
    with pytest.raises(UserError, match=message):
        job.run(config, tmp_path / "run")


def test_too_few_of_a_class_are_told(config, tmp_path):
    config.queries = 10
    with pytest.raises(UserError, match=r"class '0' of the train split has only 5"):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ways": 5}, "ways is 5, but must be below 5, the number of training classes: some re"),
        ({"ways": 4}, r"12 queries of base classes, .*but there are only 5 images"),
        ({"base_holdout": 0.1}, r"9 queries of base classes, .*but there are only 5 images"),
    ],
)
def test_too_few_base_classes_or_images(config, tmp_path, fields, message):
    config.heads = config.heads[-1:]
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=message):
        job.run(config, tmp_path / "run")
