"""What an experiment's episodes ask of the data, of the parts that they are drawn from alone."""

import dataclasses

import numpy as np
import pytest

from sib_jax.config import ConfigError, default
from sib_jax.data.split import DataSet, Split
from sib_jax.experiment import fits, settings


def _split(classes, images):
    labels = np.repeat(np.arange(classes), images)
    names = tuple(f"c{i}" for i in range(classes))
    return Split(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, names, "")


def _data(train=8, val=8, test=8):
    return DataSet("folder", *(_split(classes, 30) for classes in (train, val, test)))


def _check(experiment, data, trained):
    fits.check(experiment, data.sizes, trained, pretrains=not experiment.backbone.file)


def _experiment(**fields):
    config = default("folder")
    config.pretrain.batch = 8
    config.update_from_flattened_dict({name.replace("__", "."): v for name, v in fields.items()})
    return settings.read(config)


def test_a_split_that_nothing_uses_may_be_small():
    tested = _experiment(method="soft_kmeans", eval__splits=("test",))
    _check(tested, _data(train=3, val=2), [])
    with pytest.raises(ConfigError, match="at most 2, the number of classes in the val split"):
        _check(_experiment(method="soft_kmeans"), _data(val=2), [])


def test_where_no_number_of_ways_is_left_the_way_without_training_is_named():
    with pytest.raises(ConfigError, match=r"use sib_jax\.predict --backbone"):
        _check(_experiment(method="soft_kmeans"), _data(train=1, val=1, test=1), [])


def test_training_asks_for_its_classes_and_for_those_that_choose_the_epoch():
    sib = _experiment(eval__splits=("test",))
    _check(sib, _data(train=3, val=2), [])  # trained elsewhere
    for small in ({"train": 3}, {"val": 2}):
        with pytest.raises(ConfigError, match=f"classes in the {next(iter(small))} split"):
            _check(sib, _data(**small), sib.heads)


def test_pretraining_asks_for_a_second_image_of_each_validation_class():
    """Else its accuracy there is no number, and the backbone stayed as it was drawn."""
    fields = {"method": "soft_kmeans", "eval__splits": ("test",)}
    data = dataclasses.replace(_data(), val=_split(3, 1))
    with pytest.raises(ConfigError, match="class 'c0' of the val split has a single image"):
        _check(_experiment(**fields), data, [])
    _check(_experiment(**fields, backbone_file="conv4_128"), data, [])


LWOF = {"setting": "lwof", "prior": "mixture", "base_summary": "none", "base_holdout": 0.1}


@pytest.mark.parametrize("few", [{"val": 30}, {"val": 30, "test": 2}])
def test_each_split_has_its_own_base_images(few):
    lwof = _experiment(**LWOF)
    _check(lwof, _data_with_base({"val": 30, "test": 30}), lwof.heads)
    some = 0 if "test" not in few else 16
    with pytest.raises(ConfigError, match=f"only {some} images for them in the test split"):
        _check(lwof, _data_with_base(few), lwof.heads)
    _check(_experiment(**LWOF, eval__splits=("val",)), _data_with_base(few), lwof.heads)


def _data_with_base(images):
    data = _data()
    return dataclasses.replace(data, base={name: _split(8, n) for name, n in images.items()})


def test_pretraining_chooses_its_epoch_among_two_classes_or_more():
    untrained = _experiment(method="soft_kmeans", eval__splits=("test",))
    with pytest.raises(ConfigError, match=r"the val split has 1 class, .*: change config\.split_r"):
        _check(untrained, _data(val=1), [])
