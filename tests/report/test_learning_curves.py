"""Which epochs the report's learning curves show."""

from pathlib import Path

from sib_jax.report import learning_curves, style
from sib_jax.report.run import Run


def test_pretraining_on_growing_images_is_shown_phase_by_phase():
    stages = ("pretrain_1_48px", "pretrain_2_64px", "pretrain", "T3", "of another run")
    epochs = [
        {"stage": stage, "step": step, "loss": 1.0, "accuracy": 50.0, "val_novel": 40.0}
        for stage in stages
        for step in (1, 2)
    ]
    run = Run(Path("run"), [{"head": "T3"}], epochs, {}, {}, None)
    section = learning_curves.section(run)
    shown = {
        picture.name: [line.get_label() for line in picture.draw(style.LIGHT).axes[0].lines]
        for picture in section.pictures
    }
    assert shown == {"pretraining": list(stages[:3]), "meta_training": ["T3"]}
