"""A method of the user's own that is wrong is told in one line, before anything is trained."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import config as configs
from sib_jax.errors import UserError
from sib_jax.experiment import job, settings
from sib_jax.methods import METHODS, Method, MethodError, contract, register
from sib_jax.methods.method import cross_entropy, no_parameters


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      scale: of distances.
      ks: how many neighbours.
      kind: of distance.
    """

    scale: "float" = 1.0
    ks: tuple[int, ...] = (1, 2, 3)
    kind: Literal["near", "far"] = "near"


def scores(params, episode, key):
    square = jnp.sum((episode.query[:, None] - episode.support[None]) ** 2, axis=-1)
    of = jax.nn.one_hot(episode.support_labels, 5)
    return -(square @ of) / of.sum(0)[None]


def learned(params, episode, key):
    return jnp.exp(params["log_scale"]) * scores({}, episode, key)


def init(key, classes):
    return {"log_scale": jnp.zeros(())}


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr("sib_jax.methods.METHODS", METHODS)
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def checked(method):
    """As a job does that begins."""
    register("mine", Settings, lambda settings, ways: method)
    config = configs.default()
    config.method = "mine"
    return settings.read(config)


GOOD = Method("mine", init, learned, cross_entropy(learned))


def test_a_good_one_is_taken_and_again():
    for _ in range(2):  # a cell of a notebook that is run again
        (head,) = checked(GOOD).heads
        assert head.method is GOOD
    (head,) = checked(Method("mine", no_parameters, scores)).heads
    assert not head.method.keeps


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ((GOOD,), "make of mine must give a sib_jax.methods.Method, got a tuple"),
        (None, "make of mine must give a sib_jax.methods.Method, got None"),
        (GOOD._replace(reads="feature"), "reads is 'feature', but must be features or images"),
        (GOOD._replace(serves="standard"), "serves is 'standard', but must be a tuple of some of"),
        (
            GOOD._replace(logits=lambda p, e, k: learned(p, e, k).T),
            r"shape \[75, 5\], a row for each query and a column for each class; got float32 \[5, ",
        ),
        (
            GOOD._replace(logits=lambda p, e, k: jnp.tile(learned(p, e, k), 2)),
            r"among 5 classes must be an array of shape \[75, 5\].*got float32 \[75, 10\]",
        ),
        (GOOD._replace(logits=lambda p, e, k: None), "got None"),
        (GOOD._replace(init=lambda k, c: {"s": 1.0}), r"float arrays, but \['s'\] is a float"),
        (GOOD._replace(init=lambda k, c: jnp.arange(3)), r"float arrays, but it is int32 \[3\]"),
        (
            GOOD._replace(init=lambda k, c: jnp.zeros(3, jnp.bfloat16)),
            r"float arrays, but it is bfloat16 \[3\]; jnp\.asarray",
        ),
        (GOOD._replace(init=lambda k, c: None), "neither|has a loss, but init gives no parameters"),
        (GOOD._replace(loss=None), "neither a loss that trains them nor fitted=True"),
        (GOOD._replace(loss=lambda p, e, k: jnp.zeros(())), r"loss must give \(loss, \{name: sc"),
        (GOOD._replace(loss=lambda p, e, k: (jnp.zeros(()), {})), "must include 'accuracy', 0 to"),
        (
            GOOD._replace(loss=lambda p, e, k: (jnp.ones(3), {"accuracy": jnp.ones(())})),
            r"loss must give scalars, but loss is float32 \[3\]",
        ),
        (GOOD._replace(frozen=lambda p: {"scale": True}), r"frozen must give .*\{'scale': True\}"),
        (GOOD._replace(frozen=lambda p: p), "frozen must give a pytree like the parameters, with"),
        (
            GOOD._replace(logits=lambda p, e, k: p["no such"]),
            r"config.mine cannot work: 'no such' \(.*test_contract.py, line \d+\)",
        ),
    ],
)
def test_a_wrong_one_is_told_before_any_work(method, message):
    with pytest.raises(UserError, match=message) as raised:
        checked(method)
    assert "\n" not in str(raised.value)


def test_the_digest_knows_which_parameters_stay():
    task = checked(GOOD).heads[0].setting.task
    frozen = [None, lambda p: {"log_scale": True}, lambda p: False, lambda p: {"log_scale": False}]
    of = [contract.digest(GOOD._replace(frozen=f), task, "standard", (8,)) for f in frozen]
    assert len(set(of)) == 2
    assert of[0] == of[2] == of[3]


class Bare(NamedTuple):
    scale: float


@pytest.mark.parametrize(
    ("name", "given", "make", "message"),
    [
        ("my method", Settings, scores, "name must be a word such as my_method, got 'my method'"),
        ("soft_kmeans", Settings, scores, "is a name that sib_jax uses itself"),
        ("inner", Settings, scores, "is a name that sib_jax uses itself"),
        ("mine", dict, scores, "must be a class of typing.NamedTuple, got <class 'dict'>"),
        ("mine", Bare, scores, "settings of mine must all have defaults; scale has none"),
        ("mine", Settings, None, r"make of mine must be a function \(settings, ways\), got None"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(name, given, make, message):
    before = dict(METHODS)
    with pytest.raises(MethodError, match=message):
        register(name, given, make)
    assert before == METHODS


@pytest.mark.parametrize(
    ("field", "good", "bad", "message"),
    [
        ("ks", (4, 5), (1.5,), "config.mine.ks is (1.5,), but must be a tuple, each a whole"),
        ("scale", 2.0, "zzz", "config.mine.scale is 'zzz', but must be a number from 0"),
        ("kind", "far", "zzz", "config.mine.kind is 'zzz', but must be one of 'near', 'far'"),
    ],
)
def test_fields_are_checked_by_their_types(field, good, bad, message):
    checked(GOOD)
    config = configs.default()
    config.method = "mine"
    config.mine[field] = good
    configs.check(config)
    with config.ignore_type():
        config.mine[field] = bad
    with pytest.raises(UserError) as raised:
        configs.check(config)
    assert message in str(raised.value)


def test_without_a_run_one_that_fails_hides_no_other():
    def only_five(settings, ways):
        if ways != 5:
            raise ValueError("only 5 ways")
        return GOOD

    register("mine", Settings, only_five)
    assert sib_jax.load(method="soft_kmeans").name == "soft_kmeans"
    with pytest.raises(UserError, match=r"'mine' cannot be made for 2 classes: only 5 ways \(.*py"):
        sib_jax.load(method="mine")
    untrained = Method("mine", no_parameters, scores)  # of five columns always
    register("mine", Settings, lambda settings, ways: untrained)
    predictor = sib_jax.load(method="mine")
    features = np.eye(2, 8, dtype=np.float32)
    with pytest.raises(UserError, match=r"mine must give logits \[3, 6\], .* but gives \[3, 5\]"):
        predictor(np.eye(6, 8, dtype=np.float32), range(6), np.ones((3, 8), np.float32))
    assert predictor(features, [0, 1], features).shape == (2, 2)


def test_one_for_features_of_one_length(tmp_path):
    """As for a projection that was trained elsewhere."""
    projection = jnp.asarray(np.random.default_rng(0).normal(size=(640, 5)), jnp.float32)

    def logits(params, episode, key):
        return episode.query @ projection

    method = Method("mine", no_parameters, logits)
    register("mine", Settings, lambda settings, ways: method)
    config = configs.default("cifar_fs")
    config.method, config.backbone = "mine", "wrn_28_10"
    assert settings.read(config).heads[0].is_own
    config.backbone = "conv4_64"  # of 256
    with pytest.raises(UserError, match=r"mine cannot work: .*256.*640.*test_contract.py, line"):
        settings.read(config)
    config = configs.default("features")
    config.method, config.data_dir = "mine", str(tmp_path / "own.npz")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 20)
    np.savez(tmp_path / "own.npz", features=rng.normal(size=(600, 8)).astype("f4"), labels=labels)
    with pytest.raises(UserError, match=r"head mine cannot work: .*\(8,\).*\(640,\)"):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
