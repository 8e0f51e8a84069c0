"""`sib_jax.load`: a finished run as a function of examples and queries."""

import functools
import json
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensors import Columns, OfTorch

import sib_jax
from sib_jax import backbones
from sib_jax import features as features_command
from sib_jax.backbones import pretrained
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.config import default
from sib_jax.data.errors import DataError
from sib_jax.data.reading.decode import decode_one
from sib_jax.errors import UserError
from sib_jax.experiment import features, head_file, loading, memory, run_files, settings
from sib_jax.experiment.predictor_inputs import PredictionError, prepare
from sib_jax.methods import METHODS, Classes, sib_plus
from sib_jax.tasks.episode import Episode

SIZE, BASE = 16, 6
NAMES = tuple(f"train{i}" for i in range(BASE))
HEADS = (
    ("T0", {"inner.steps": 0}),
    ("T2", {"inner.steps": 2}),
    ("prototypes", {"method": "prototypical"}),
    ("kmeans", {"method": "soft_kmeans"}),
    ("plus", {"method": "sib_plus", "sib_plus.steps": 2}),
    ("tim", {"method": "tim"}),
    ("weights", {"method": "weight_generator", "setting": "lwof"}),
    ("lwof", {"setting": "lwof", "prior": "mixture", "inner.steps": 1}),
)


def write_run(workdir, dataset="folder", width=None):
    """What a job leaves, its parameters as they start: nothing is trained."""
    config = default(dataset)
    config.posterior, config.prior, config.elbo.beta = "gaussian", "gaussian", 1e-3
    config.image_size = config.crop = SIZE
    config.pretrain.padding, config.base_holdout, config.ways = 1, 0.4, 3
    config.heads = HEADS
    run_files.write_config(config, workdir)
    if width is None:
        backbone = backbones.make("conv4_64", image_size=SIZE, final_relu=config.final_relu)
        preprocessing = Preprocessing(SIZE, (0.5,) * 3, (0.25,) * 3)
        variables = backbone.init(jax.random.key(0))
        base = jnp.ones((BASE, backbone.features))
        found = pretrained.Pretrained(backbone, variables, preprocessing, base)
        pretrained.save(workdir / run_files.BACKBONE, found)
        width = backbone.features
    classes = Classes((width,), BASE, jnp.ones((BASE, width)))
    for head in settings.read(config).heads:
        if head.method.trained:
            params = head.method.init(jax.random.key(1), classes)
            path = run_files.params_file(workdir, head.name)
            head_file.save(path, params, head, input_shape=(width,), base_classes=NAMES, made_by="")
    return workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def run_of_features(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("of_features"), "features", width=7)


@functools.cache
def loaded(run, head):
    """One for all tests: every predictor compiles programs of its own."""
    return sib_jax.load(run, head)


@pytest.fixture(scope="module")
def episode():
    """3 classes with 1, 2 and 3 examples, and 9 queries; images."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(40, 215, (3, SIZE, SIZE, 3))

    def images(labels):
        return np.clip(patterns[labels] + rng.normal(0, 20, (len(labels), 1, 1, 1)), 0, 255)

    support, query = np.repeat(np.arange(3), [1, 2, 3]), np.repeat(np.arange(3), 3)
    names = np.array(["test0", "test1", "test2"])[support]
    return images(support).astype(np.uint8), names, images(query).astype(np.uint8), query


@pytest.mark.parametrize("head", ["T2", "prototypes", "kmeans", "plus"])
def test_it_answers_as_the_method_does_on_the_run_s_features(run, episode, head):
    support, names, query, _ = episode
    predictor = loaded(run, head)
    found = predictor(support, names, query)
    method, params = predictor.method(3)
    of = features.compute(predictor.pretrained, np.concatenate([support, query]))
    task = Episode(of[:6], np.array([0, 1, 1, 2, 2, 2]), of[6:], np.zeros(9, np.int32))
    wanted = jax.nn.softmax(jax.jit(method.logits)(params, task, jax.random.key(0)))
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert predictor.classes(names) == ("test0", "test1", "test2")


def test_labels_may_be_numbers_and_images_of_any_size(run, episode):
    support, names, query, _ = episode
    predictor = loaded(run, "kmeans")
    wanted = predictor(support, names, query)
    numbers = np.array([10, 20, 20, 35, 35, 35])
    assert predictor.classes(numbers) == (10, 20, 35)
    np.testing.assert_array_equal(predictor(support, numbers, query), wanted)
    larger = [np.asarray(Image.fromarray(i).resize((SIZE * 3, SIZE * 4))) for i in query]
    assert predictor(support, names, larger).shape == (9, 3)
    of = predictor.features(support), predictor.features(query)
    np.testing.assert_allclose(predictor(of[0], names, of[1]), wanted, atol=2e-5)


def test_a_gaussian_posterior_has_a_spread_and_the_classes_their_names(run, episode):
    support, names, query, _ = episode
    found = loaded(run, "T2").predict(support, names, query)
    assert found.classes == ("test0", "test1", "test2")
    assert found.spread.shape == found.probabilities.shape == (9, 3)
    assert np.all(found.spread > 0)
    assert set(found.labels) <= set(found.classes)
    assert loaded(run, "kmeans").predict(support, names, query).spread is None


@pytest.mark.parametrize("head", ["weights", "lwof"])
def test_base_classes_are_answers_where_they_are_asked_for(run, episode, head):
    support, names, query, _ = episode
    predictor = loaded(run, head)
    of_both = predictor.predict(support, names, query, base_classes=True)
    assert of_both.classes == ("test0", "test1", "test2", *NAMES)
    np.testing.assert_allclose(of_both.probabilities.sum(axis=1), 1, rtol=1e-5)
    # Among the new classes alone they are the same scores, normalised anew.
    novel = of_both.probabilities[:, :3]
    wanted = novel / novel.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictor(support, names, query), wanted, rtol=1e-3)
    assert (of_both.spread is None) == (head == "weights")
    with pytest.raises(UserError, match="train1 is a base class already"):
        predictor(support, ["train1", *names[1:]], query, base_classes=True)
    with pytest.raises(UserError, match="T2 was not trained beside base classes"):
        sib_jax.load(run, "T2")(support, names, query, base_classes=True)


def test_other_numbers_of_classes(run, episode):
    support, _, query, _ = episode
    two = ["a", "b", "b", "a", "a", "b"]
    for head in ("T0", "kmeans", "weights"):
        assert loaded(run, head)(support, two, query).shape == (9, 2)
    with pytest.raises(
        UserError, match=r"2 classes.*T2 was trained for tasks of 3 classes; choose head T0"
    ):
        sib_jax.load(run, "T2")(support, two, query)


@pytest.mark.parametrize("head", ["T2", "plus"])
def test_an_exported_predictor_answers_alike_for_any_number(run, episode, tmp_path, head):
    pytest.importorskip("flatbuffers")  # what jax.export writes with
    support, names, query, _ = episode
    predictor = loaded(run, head)
    predictor.export(tmp_path / "it.jax", ways=3)
    program = jax.export.deserialize(bytearray((tmp_path / "it.jax").read_bytes()))
    labels = np.array([0, 1, 1, 2, 2, 2], np.int32)
    for n in (9, 1):
        wanted = predictor(support, names, query[:n])
        np.testing.assert_allclose(program.call(support, labels, query[:n]), wanted, atol=1e-3)


def test_a_head_for_any_features_is_exported_for_those_of_its_run(run_of_features, tmp_path):
    pytest.importorskip("flatbuffers")
    sib_jax.load(run_of_features, "prototypes").export(tmp_path / "it.jax", ways=2)
    program = jax.export.deserialize(bytearray((tmp_path / "it.jax").read_bytes()))
    support, query = np.eye(2, 7, dtype=np.float32), np.eye(2, 7, dtype=np.float32)[::-1]
    found = program.call(support, np.arange(2, dtype=np.int32), query)
    assert found.argmax(axis=1).tolist() == [1, 0]


def test_what_cannot_be_exported_is_said(run, tmp_path):
    with pytest.raises(UserError, match="give ways=K"):
        sib_jax.load(run, "kmeans").export(tmp_path / "it.jax")
    with pytest.raises(UserError, match="beside base classes"):
        sib_jax.load(run, "weights").export(tmp_path / "it.jax", ways=3)
    with pytest.raises(UserError, match=r"tim.* cannot be exported, because its program depends"):
        sib_jax.load(run, "tim").export(tmp_path / "it.jax", ways=3)
    for ways in (0, 1, "2", True):
        with pytest.raises(UserError, match="ways must be a whole number of 2 or more"):
            sib_jax.load(run, "kmeans").export(tmp_path / "it.jax", ways=ways)


def test_which_head(run, tmp_path):
    assert sib_jax.load(run, steps=2).head.name == "T2"
    assert sib_jax.load(run).head.name in dict(HEADS)
    rows = [
        {"head": name, "split": "val", "novel": {"mean": mean}}
        for name, mean in (("T0", 50), ("T2", 70), ("plus", 60))
    ]
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "results.json").write_text(json.dumps(rows))
    of_ways = [sib_jax.load(copy, ways=k) for k in (None, 3, 4)]
    assert [found.head.name for found in of_ways] == ["T2", "T2", "plus"]
    passed_over = "head T2 would come first, but it is only for 3 classes; here are 4"
    assert [found.notes for found in of_ways] == [(), (), (passed_over,)]
    with pytest.raises(UserError, match=r"no head of SIB with T = 7; there is T = 0 \(T0\), T = 2"):
        sib_jax.load(run, steps=7)
    with pytest.raises(UserError, match="no head 'T9'; it has T0, T2, prototypes, kmeans"):
        sib_jax.load(run, "T9")
    with pytest.raises(UserError, match="it has no config"):
        sib_jax.load(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        sib_jax.load(tmp_path / "nowhere")


def test_a_run_on_features(run_of_features):
    run, query = run_of_features, np.random.default_rng(0).normal(size=(9, 7))
    for head in ("T2", "kmeans", "weights"):
        found = loaded(run, head)(query[:6], [0, 1, 2] * 2, query)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    for head in ("T2", "plus"):
        assert sib_jax.load(run, head).input_shape() == (7,)
        with pytest.raises(UserError, match="length 7, got 5"):
            sib_jax.load(run, head)(np.ones((3, 5)), [0, 1, 2], np.ones((2, 5)))
    with pytest.raises(UserError, match="the length of the features is unknown"):
        sib_jax.load(run, "kmeans").input_shape()
    with pytest.raises(UserError, match="support has features of length 5, query of 6"):
        sib_jax.load(run, "kmeans")(np.ones((2, 5)), [0, 1], np.ones((2, 6)))
    with pytest.raises(UserError, match="must all have one length, got 5, 6"):
        sib_jax.load(run, "kmeans")([np.ones(5), np.ones(6)], [0, 1], np.ones((2, 6)))
    for seed in (-1, 2**32, True):
        with pytest.raises(UserError, match=f"seed must be a whole .* got {seed}"):
            sib_jax.load(run, "T2")(query[:3], [0, 1, 2], query, seed=seed)
    images = np.ones((3, 4, 4, 3), np.uint8)
    with pytest.raises(UserError, match="give float features"):
        sib_jax.load(run, "T2")(images, [0, 1, 2], images)


def test_a_run_on_characters_says_that_photographs_want_another_backbone(run, monkeypatch):
    assert sib_jax.load(run, "kmeans").notes == ()
    config = loading.read_config(run)
    config.dataset = "glyphs"
    monkeypatch.setattr(loading, "read_config", lambda _: config)
    (note,) = sib_jax.load(run, "kmeans").notes
    assert "for photographs give --backbone=mini_imagenet-conv4_128 in place of --run" in note


def test_without_a_run(episode):
    support, names, query, _ = episode
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_64", method="simple_shot")
    assert predictor.image_size == 84
    assert predictor(support, names, query).shape == (9, 3)
    assert set(loading.untrained()) >= {"soft_kmeans", "tim", "pt_map"}
    with pytest.raises(UserError, match="'sib' is trained: it needs a run, or an official"):
        sib_jax.load(backbone="mini_imagenet-conv4_64", method="sib")
    with pytest.raises(UserError, match="'matching' is trained, so it needs a run"):
        sib_jax.load(backbone="mini_imagenet-conv4_64", method="matching")
    with pytest.raises(
        UserError, match="a file nor a shipped backbone; shipped backbones: cifar_fs-"
    ):
        sib_jax.load(backbone="resnet")
    with pytest.raises(UserError, match="image_size must be a whole number, got '84'"):
        sib_jax.load(backbone="mini_imagenet-conv4_64", image_size="84")
    with pytest.raises(UserError, match="takes images of 80 pixels, but image_size is 32"):
        sib_jax.load(backbone="mini_imagenet-conv4_64", image_size=32)


def test_a_shipped_backbone_s_own_head_is_taken_for_up_to_20_classes(episode):
    support, names, query, _ = episode
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_128", ways=20)
    assert predictor.name.startswith("SIB+ with T = 5")
    for ways in (None, 21):
        assert sib_jax.load(backbone="mini_imagenet-conv4_128", ways=ways).name == "soft_kmeans"
    with pytest.raises(UserError, match=r"21 classes.* is good for at most 20; choose a method"):
        predictor(np.repeat(support, 4, axis=0)[:21], list(range(21)), query)
    of_support, of_query = predictor.features(support), predictor.features(query)
    for ways in (3, 2):
        labels = np.array([0, 1, 1, 2, 2, 2]) % ways
        logits = jax.jit(functools.partial(sib_plus.logits, ways=ways))
        scores = logits(predictor.head.params, of_support, labels, of_query)
        wanted = jax.nn.softmax(scores)
        np.testing.assert_allclose(predictor(support, labels, query), wanted, atol=1e-4)
    other = sib_jax.load(backbone="mini_imagenet-conv4_128", method="soft_kmeans")
    assert np.any(other(support, names, query) != predictor(support, names, query))
    assert sib_jax.load(backbone="mini_imagenet-conv4_64", ways=5).name == "soft_kmeans"
    with pytest.raises(
        UserError, match="it needs a run, or a backbone that ships with a head, mini_"
    ):
        sib_jax.load(backbone="mini_imagenet-conv4_64", method="sib_plus")


@pytest.mark.parametrize(
    ("support", "labels", "query", "message"),
    [
        (np.zeros((2, 9, 9, 3)), [0, 1], np.zeros((1, 9, 9, 3)), "uint8 .*got float64"),
        (np.zeros((2, 9, 9, 3), "u1"), [0], np.zeros((1, 9, 9, 3), "u1"), "2 examples, but 1 lab"),
        (np.zeros((2, 9, 9, 3), "u1"), [0, 0], np.zeros((1, 9, 9, 3), "u1"), "2 classes or more"),
        (np.zeros((2, 9, 9, 3), "u1"), [0, 1], [], "no queries"),
        (np.zeros((2, 9, 9, 3), "u1"), [0.5, 1], np.zeros((1, 9, 9, 3), "u1"), "whole numbers or"),
        (np.zeros((2, 9, 9, 3), "u1"), [0, 1], np.zeros((9, 9, 3), "u1"), "is a single image"),
        (np.zeros((2, 9, 9, 3), "u1"), [0, 1], np.zeros((9, 8, 4), "u1"), "is a single image"),
        (np.zeros((2, 9, 9, 3), "u1"), [0, 1], np.zeros((1, 0, 9, 3), "u1"), r"got uint8 .0, 9, 3"),
        (np.zeros((2, 64), complex), [0, 1], np.zeros((1, 64)), "real numbers, got complex"),
        (np.zeros((2, 9, 9, 3), "u1"), [0, 1], Image.new("L", (9, 9)), "got Image: put it in a li"),
    ],
)
def test_mistakes(support, labels, query, message):
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_64")
    with pytest.raises(UserError, match=message):
        predictor(support, labels, query)


def test_what_is_imported_stays_light():
    """The package first, then a job, which draws only where it is asked to."""
    heavy = ("flax", "orbax", "matplotlib", "sib_jax.backbones")
    found = f"print([m for m in {heavy} if m in sys.modules])"
    code = f"import sib_jax, sys; {found}; import sib_jax.experiment.job; {found}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package, of_job = done.stdout.splitlines()
    assert package == "[]"
    assert "sib_jax.backbones" in of_job
    assert "matplotlib" not in of_job


def test_parameters_have_the_shapes_that_classes_give(run):
    predictor = sib_jax.load(run, "weights")
    assert predictor.head.base == NAMES
    classes = Classes((64,), BASE, jnp.ones((BASE, 64)))
    like = predictor.head.make(3).init(jax.random.key(0), classes)
    assert jax.tree.map(np.shape, like) == jax.tree.map(np.shape, predictor.head.params)


@pytest.mark.parametrize("method", ["tim", "pt_map", "sinkhorn_kmeans"])
def test_fewer_queries_than_classes_tell_balanced_methods_nothing(episode, method):
    support, names, query, _ = episode
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_64", method=method)
    with pytest.raises(UserError, match=r"2 queries among 3 classes are .* choose soft_kmeans"):
        predictor(support, names, query[:2])
    other = sib_jax.load(backbone="mini_imagenet-conv4_64", method="soft_kmeans")
    assert other(support, names, query[:1]).shape == (1, 3)


def test_images_of_several_sizes_in_an_array_of_objects(run, episode):
    support, names, query, _ = episode
    predictor = loaded(run, "kmeans")
    larger = [np.asarray(Image.fromarray(i).resize((SIZE + n, SIZE))) for n, i in enumerate(query)]
    objects = np.empty(len(larger), object)
    objects[:] = larger
    np.testing.assert_array_equal(
        predictor(support, names, objects), predictor(support, names, larger)
    )


def test_more_queries_than_memory_holds_the_square_of_are_refused(episode, monkeypatch):
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_64", method="laplacian_shot")
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(4, 1600)), rng.normal(size=(5000, 1600))
    monkeypatch.setattr(memory, "free_bytes", lambda of_one: 10**8)
    with pytest.raises(UserError, match=r"for 5000 queries at once laplacian_shot needs at least"):
        predictor(support, [0, 0, 1, 1], query)
    simple = sib_jax.load(backbone="mini_imagenet-conv4_64", method="simple_shot")
    assert simple(support, [0, 0, 1, 1], query).shape == (5000, 2)


def test_images_of_pillow_s_are_read_as_their_files_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    turned = Image.new("RGB", (1, 1)).getexif()
    turned[0x0112] = 6  # the camera was held on its side
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(pixels).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "alpha.png")
    for path in tmp_path.iterdir():
        with path.open("rb") as file:
            wanted = decode_one(file, 24, 3, path.name)
        with Image.open(path) as image:
            found = prepare([image], 24, 3)[0]
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UserError, match="cannot be read: its pixels are not whole numbers"):
        prepare([Image.new("F", (9, 9))], 24, 3)


def test_a_picture_whose_file_was_closed_is_told(tmp_path):
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as closed:
        pass
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_64")
    with pytest.raises(UserError, match=r"is closed: load\(\) or copy\(\) it before its file is"):
        predictor([closed, closed], [0, 1], [closed])


def test_a_predictor_is_not_for_pickling():
    with pytest.raises(TypeError, match=r"cannot be pickled: call sib_jax\.load in each process"):
        pickle.dumps(sib_jax.load(backbone="mini_imagenet-conv4_64"))


def encode(images):
    """Seven numbers of an image: its mean colour, that of its corner, its height."""
    of = [np.asarray(image, np.float32) / 255 for image in images]
    return np.stack([np.r_[i.mean((0, 1)), i[0, 0], len(i) / SIZE] for i in of])


def test_an_encoder_and_a_run_of_the_features_that_it_made(run, run_of_features, episode):
    support, names, query, _ = episode
    of_features = run_of_features
    predictor = sib_jax.load(of_features, "T2", encoder=encode)
    assert (
        repr(predictor) == "<Predictor: SIB gaussian with T = 2 (head T2), of images under encode>"
    )
    features_of = [encode([Image.fromarray(i) for i in part]) for part in (support, query)]
    wanted = loaded(of_features, "T2")(features_of[0], names, features_of[1])
    np.testing.assert_allclose(predictor(support, names, query), wanted, rtol=1e-5)
    # Images of Pillow's in any mode are shown in RGB.
    of_pillow = [Image.fromarray(i).convert("RGBA") for i in query]
    np.testing.assert_allclose(predictor(support, names, of_pillow), wanted, rtol=1e-5)
    np.testing.assert_allclose(predictor(features_of[0], names, features_of[1]), wanted, rtol=1e-5)
    gray = predictor.features([np.full((5, 6), 51, np.uint8)])
    np.testing.assert_allclose(gray, [[0.2] * 6 + [5 / SIZE]], rtol=1e-6)
    with pytest.raises(UserError, match="the head was trained on features of length 7, got 3"):
        sib_jax.load(of_features, "T2", encoder=lambda of: encode(of)[:, :3])(support, names, query)
    with pytest.raises(UserError, match="has its own backbone: leave encoder out, or give a run"):
        sib_jax.load(run, "T2", encoder=encode)


def test_more_images_than_an_encoder_sees_at_once(episode):
    support, names, query, _ = episode
    sizes = []

    def counted(images):
        sizes.append(len(images))
        return encode(images)

    many = np.concatenate([query] * 4)
    found = sib_jax.load(encoder=counted, method="simple_shot")(support, names, many)
    assert sum(sizes) == len(support) + len(many)
    assert max(sizes) <= 16
    np.testing.assert_allclose(found, np.concatenate([found[:9]] * 4), rtol=1e-5)


def test_a_method_alone_reads_features_of_any_model():
    rng = np.random.default_rng(0)
    centres = 4 * np.eye(3, 6)
    labels = np.repeat(np.arange(3), 5)
    query = (centres[labels] + rng.normal(size=(15, 6))).astype(np.float32)
    for method in loading.untrained():
        predictor = sib_jax.load(method=method)
        found = predictor.predict(centres, ["a", "b", "c"], query)
        assert found.labels == [*("a" * 5), *("b" * 5), *("c" * 5)], method
    assert repr(predictor) == f"<Predictor: {predictor.name}, of features>"
    with pytest.raises(UserError, match="the length of the features is unknown"):
        predictor.input_shape()
    images = np.zeros((3, 4, 4, 3), np.uint8)
    with pytest.raises(UserError, match=r"has no backbone: give float features .* with encoder="):
        predictor(images, [0, 1, 2], images)


@pytest.mark.parametrize("kind", [OfTorch, Columns, jnp.asarray, np.ndarray.tolist])
def test_arrays_of_any_library(kind):
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(3, 6))
    labels = np.array([7, 7, 9, 9])
    predictor = sib_jax.load(method="soft_kmeans")
    wanted = predictor(support, labels, query)
    given_labels = kind(labels) if kind is not OfTorch else labels
    np.testing.assert_allclose(predictor(kind(support), given_labels, kind(query)), wanted, 1e-5)
    of_rows = [kind(row) for row in support], [kind(row) for row in query]
    np.testing.assert_allclose(predictor(of_rows[0], labels, of_rows[1]), wanted, 1e-5)


@pytest.mark.parametrize("method", ["soft_kmeans", "simple_shot"])
def test_a_method_alone_is_exported_for_features_of_a_length(tmp_path, method):
    pytest.importorskip("flatbuffers")
    predictor = sib_jax.load(method=method)
    with pytest.raises(UserError, match="give features=D to export"):
        predictor.export(tmp_path / "it.jax", ways=2)
    predictor.export(tmp_path / "it.jax", ways=2, features=6)
    program = jax.export.deserialize(bytearray((tmp_path / "it.jax").read_bytes()))
    rng = np.random.default_rng(0)
    support, query = (rng.normal(size=(n, 6)).astype(np.float32) for n in (5, 8))
    labels = np.array([0, 1, 1, 0, 1], np.int32)
    wanted = predictor(support, labels, query)
    np.testing.assert_allclose(program.call(support, labels, query), wanted, atol=1e-5)


def test_transparent_pixels_of_an_array_are_shown_on_white(episode):
    _, _, query, _ = episode
    predictor = sib_jax.load(encoder=encode)
    opaque = np.concatenate([query, np.full_like(query[..., :1], 255)], axis=-1)
    np.testing.assert_allclose(predictor.features(opaque), predictor.features(query), rtol=1e-6)
    opaque[..., 3] = 0
    white = np.full_like(query, 255)
    np.testing.assert_allclose(predictor.features(opaque), predictor.features(white), rtol=1e-6)


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (np.zeros((6, 3, 20, 30), np.uint8), r"channels come last: images.transpose\(0, 2, 3, 1\)"),
        (np.zeros((6, 20, 30, 3)), r"for values 0..1: \(255 \* images\).astype\(np.uint8\)"),
        (
            "examples",
            "support is a file name, 'examples': give images, or use python -m ",
        ),
    ],
)
def test_images_in_another_form_are_told_how_to_be_given(episode, support, message):
    _, names, query, _ = episode
    with pytest.raises(UserError, match=message):
        sib_jax.load(encoder=encode)(support, names, query)


def test_labels_that_are_no_list(episode):
    support, names, query, _ = episode
    with pytest.raises(UserError, match="support_labels must be a list, got generator"):
        sib_jax.load(encoder=encode)(support, (name for name in names), query)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there is nothing to load"),
        ({"method": "tim", "ways": True}, "ways must be a whole number, got True"),
        ({"method": "tim", "ways": 1}, "ways must be 2 or more, got 1"),
        ({"encoder": encode, "backbone": "conv4_64"}, "encoder takes the place of backbone"),
        ({"encoder": encode, "head": "T0"}, "head chooses among the heads of a run"),
        ({"encoder": encode, "image_size": 64}, "image_size is only for use with a backbone"),
        ({"method": "matching"}, "'matching' is trained, so it needs a run"),
        ({"method": "knn"}, "method 'knn' is unknown; without a run there are simple_shot, soft"),
        ({"method": "tim", "steps": 3}, "steps chooses T of SIB, but the method is tim"),
    ],
)
def test_what_goes_with_what(given, message):
    with pytest.raises(UserError, match=message):
        sib_jax.load(**given)


def test_a_backbone_says_that_features_are_not_its_own():
    predictor = sib_jax.load(backbone="mini_imagenet-conv4_64", method="simple_shot")
    with pytest.raises(UserError, match="the backbone gives features of length 1600, got 7"):
        predictor(np.ones((2, 7)), [0, 1], np.ones((3, 7)))


def test_a_method_of_one_s_own_that_needs_no_training_needs_no_run(monkeypatch):
    monkeypatch.setitem(METHODS, "mine", METHODS["simple_shot"])
    found = sib_jax.load(method="mine")
    points = np.eye(3, 8, dtype=np.float32)
    assert list(found.predict(points, [0, 1, 2], points).labels) == [0, 1, 2]


def test_what_is_no_feature_and_no_label_is_told():
    found = sib_jax.load(method="simple_shot")
    points = np.eye(3, 8, dtype=np.float32)
    with pytest.raises(PredictionError, match="labels are bytes that are not UTF-8 text"):
        found.predict(points, [b"\xff", b"a", b"b"], points)
    for length in (0, -3, "abc", True, 2.0):
        with pytest.raises(PredictionError, match="features must be the features' length d, got"):
            found.export("x.jax", ways=3, features=length)


def test_an_encoder_that_changes_its_mind_is_told():
    images = np.zeros((40, 4, 4, 3), np.uint8)
    lengths = iter((3, 3, 5))
    found = sib_jax.load(encoder=lambda given: np.ones((len(given), next(lengths))))
    with pytest.raises(DataError, match="features of different lengths: 3 and 5"):
        found.features(images)


@pytest.mark.parametrize(
    ("dtype", "value", "seen"),
    [(np.int32, 200, 200), (np.int32, 65535, 255), (np.uint16, 200 * 257, 200), (np.uint16, 5, 0)],
)
def test_pillow_s_integers_have_8_bits_or_16(dtype, value, seen):
    image = Image.fromarray(np.full((4, 4), value, dtype))
    assert set(prepare([image], 4, 3)[0].ravel().tolist()) == {seen}


@pytest.mark.parametrize("strange", [float("nan"), 1, None])
def test_a_label_that_is_missing_is_no_class(strange):
    found = sib_jax.load(method="simple_shot")
    points = np.eye(3, 8, dtype=np.float32)
    with pytest.raises(PredictionError, match="support_labels must be whole numbers or strings"):
        found.predict(points, [strange, "cat", "dog"], points)


def test_a_short_name_of_two_backbones_asks_which():
    wanted = "conv4_64 may be cifar_fs-conv4_64 or mini_imagenet-conv4_64: say which"
    with pytest.raises(UserError, match=wanted):
        sib_jax.load(backbone="conv4_64")


def test_a_run_on_a_data_set_of_one_s_own_needs_only_its_name(run, episode, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "dataset": "mine"}))
    support, labels, query, _ = episode
    wanted = loaded(run, "T2")(support, labels, query)
    np.testing.assert_array_equal(sib_jax.load(copy, "T2")(support, labels, query), wanted)
    with pytest.raises(SystemExit, match=r"unknown data set 'mine'.*--import=FILE\.py"):
        features_command.main([f"--run={copy}", f"--out={tmp_path}/x.npz"])
    (copy / "config.json").write_text(json.dumps({**config, "dataset": "no name"}))
    with pytest.raises(UserError, match=r"config\.dataset is 'no name', but must be"):
        sib_jax.load(copy)
