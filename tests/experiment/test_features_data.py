"""Features of another model in place of images: no backbone, no pretraining."""

import numpy as np
import pytest

from sib_jax.config import default, steps
from sib_jax.errors import UserError
from sib_jax.experiment import job


@pytest.fixture(params=[np.float16])
def config(request, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(15), 10)
    centres = rng.standard_normal((15, 24))
    # Far from 1, as some models have them: half precision would overflow when squared.
    features = 300 * (centres[labels] + 0.8 * rng.standard_normal((150, 24)))
    split = np.array(["train", "val", "test"])[labels // 5]
    np.savez(
        tmp_path / "own.npz", features=features.astype(request.param), labels=labels, split=split
    )
    config = default("features")
    config.data_dir = str(tmp_path / "own.npz")
    config.ways, config.queries = 3, 3
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 2, 5
    config.optimizer.val_tasks = 10
    config.eval.val_tasks, config.eval.test_tasks = 20, 200
    config.heads = (
        *steps(2),
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


def test_what_needs_images_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="--mode=pretrain trains a backbone"):
        job.run(config, tmp_path / "run", "pretrain")
    config.queries = 10
    with pytest.raises(UserError, match=r"class '0' of the train split has only 5"):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ways": 5}, "ways is 5, but must be below 5, the training classes, some of which stay"),
        ({"ways": 4}, r"12 queries of base classes, .*but there are only 5 images"),
        ({"base_holdout": 0.1}, r"9 queries of base classes, .*but there are only 5 images"),
    ],
)
def test_too_few_base_classes_or_images(config, tmp_path, fields, message):
    config.heads = config.heads[-1:]
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=message):
        job.run(config, tmp_path / "run")
