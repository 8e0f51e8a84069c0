"""A job whose methods all read images: nothing is pretrained, and there is no backbone."""

import pytest

import sib_jax
from sib_jax.errors import UserError
from sib_jax.experiment import job

MAML = {
    "method": "maml",
    **{"maml.order": 1, "maml.steps": 1, "maml.test_steps": 1},
    **{"maml.filters": 4, "maml.blocks": 1},
}


@pytest.fixture
def config(config):
    config.heads, config.optimizer.epochs = (("maml", MAML),), 1
    return config


def test_no_backbone_is_trained(config, tmp_path):
    rows = job.run(config, tmp_path / "run")
    assert [(r["method"], r["backbone"]) for r in rows] == [("maml first-order", None)] * 2
    assert not (tmp_path / "run" / "backbone.npz").exists()
    again = job.run(config, tmp_path / "run", "evaluate")
    assert [r["novel"] for r in again] == [r["novel"] for r in rows]
    with pytest.raises(UserError, match=r"all heads of .*run learn from images"):
        sib_jax.load(tmp_path / "run")
