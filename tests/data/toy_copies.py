"""Toy copies of a data set with a standard split, in each form that people own."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image

from sib_jax.data.published import StandardSplit

SIZE = 12
IMAGES = 4  # of each class
CLASSES = {
    "train": ("n00000002", "n00000004", "n00000007"),
    "val": ("n00000001", "n00000005"),
    "test": ("n00000003", "n00000006"),
}
TOY = StandardSplit("toy-ImageNet", CLASSES, IMAGES, "draw it")


class Toy:
    """Random images: `images[split][class][file name]` is uint8 [size, size, channels]."""

    def __init__(self, classes=CLASSES, seed=0, size=SIZE, channels=3):
        def pixels():
            return rng.integers(0, 256, (size, size, channels), np.uint8)

        rng = np.random.default_rng(seed)
        self.images = {
            split: {
                # Their order is not the sorted one.
                c: {f"{c.split('/')[-1]}0000{i}.png": pixels() for i in rng.permutation(IMAGES)}
                for c in reversed(names)
            }
            for split, names in classes.items()
        }

    def pngs(self, form):
        """Name and content of each image file; form has {split}, {c} and {file}."""
        for split, classes in self.images.items():
            for c, images in classes.items():
                for file, pixels in images.items():
                    yield form.format(split=split, c=c, file=file), png(pixels)

    def check(self, data):
        """`data` holds these images, classes and files each in sorted order."""
        for split, classes in self.images.items():
            got = data.split(split)
            rows = [(f"{c}/{f}", x[f]) for c, x in sorted(classes.items()) for f in sorted(x)]
            assert got.class_names == tuple(sorted(classes))
            assert got.file_names == tuple(name for name, _ in rows)
            np.testing.assert_array_equal(got.images, np.stack([pixels for _, pixels in rows]))
            np.testing.assert_array_equal(got.labels, np.repeat(range(len(classes)), IMAGES))


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, "png")
    return file.getvalue()


def as_directory(root, members):
    for name, content in members:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def as_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def as_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path
