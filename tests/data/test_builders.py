"""tensorflow-datasets builders: prepared without TensorFlow, equal to what the loaders give."""

import functools
import http.server
import sys
import threading

import numpy as np
import pytest
from toy_copies import SIZE, TOY, Toy, as_directory, as_tar

tfds = pytest.importorskip("tensorflow_datasets")

from sib_jax.data.builders import few_shot  # noqa: E402

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def server(tmp_path):
    """Serves the folder `site` below tmp_path; gives its address."""
    (tmp_path / "site").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def _prepare(builder_class, tmp_path, **config):
    builder = builder_class(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**config))
    return builder


def _equal(builder, toy):
    """What `as_data_source` gives is the toy data set, row by row."""
    features = builder.info.features
    for name, ours in few_shot.SPLITS.items():
        source = builder.as_data_source(split=name)
        stored = [(c, f, x[f]) for c, x in sorted(toy.images[ours].items()) for f in sorted(x)]
        assert len(source) == len(stored)
        for row, (c, file, pixels) in enumerate(stored):
            example = source[row]
            np.testing.assert_array_equal(example["image"], pixels)
            assert features["label"].int2str(example["label"]) == c
            assert example["file_name"].decode() == f"{c}/{file}"


def test_mini_imagenet(toy, tmp_path, monkeypatch):
    from sib_jax.data.builders.mini_imagenet import mini_imagenet_dataset_builder as module

    monkeypatch.setattr(module.Builder, "SHAPE", (SIZE, SIZE, 3))
    monkeypatch.setattr(module.Builder, "STANDARD", TOY)
    manual = as_directory(tmp_path / "manual", toy.pngs("{split}/{c}/{file}"))
    builder = _prepare(module.Builder, tmp_path, manual_dir=manual)
    assert builder.info.full_name == "mini_imagenet/1.0.0"
    _equal(builder, toy)
    _equal(tfds.builder_from_directory(builder.data_dir), toy)
    assert "tensorflow" not in sys.modules
    with pytest.raises(AssertionError, match="Put a copy of mini-ImageNet into manual_dir"):
        _prepare(module.Builder, tmp_path / "other", manual_dir=tmp_path / "nowhere")


def test_cifar_fs(tmp_path, monkeypatch, server):
    from test_cifar_fs import python_pickles

    from sib_jax.data import cifar_fs
    from sib_jax.data.builders.cifar_fs.cifar_fs_dataset_builder import Builder

    toy = Toy(size=32)
    as_tar(tmp_path / "site" / "cifar-100-python.tar.gz", python_pickles(toy), "w:gz")
    monkeypatch.setattr(Builder, "STANDARD", TOY)
    monkeypatch.setattr(Builder, "URL", f"{server}/cifar-100-python.tar.gz")
    _equal(_prepare(Builder, tmp_path), toy)
    toy.check(cifar_fs.load(tmp_path / "tfds", standard_split=TOY))


def test_omniglot_fs(tmp_path, monkeypatch, server):
    import test_omniglot

    from sib_jax.data import omniglot
    from sib_jax.data.builders.omniglot_fs import omniglot_fs_dataset_builder as module

    toy = Toy(test_omniglot.SPLIT, channels=1)
    (tmp_path / "site").rmdir()
    test_omniglot._zips(tmp_path / "site", toy)
    monkeypatch.setattr(module.Builder, "SHAPE", (SIZE, SIZE, 1))
    monkeypatch.setattr(module.Builder, "STANDARD", test_omniglot.TOY)
    urls = [f"{server}/images_{part}.zip" for part in ("background", "evaluation")]
    monkeypatch.setattr(module.Builder, "URLS", urls)
    _equal(_prepare(module.Builder, tmp_path), toy)
    data = omniglot.load(tmp_path / "tfds", image_size=SIZE, standard_split=test_omniglot.TOY)
    toy.check(data)
