"""The transductive peers: the numbers of their authors' code (tests/parity/peers_README.md) and
what all of them must do."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods import (
    METHODS,
    alpha_tim,
    bd_cspn,
    gaussian_em,
    laplacian_shot,
    pt_map,
    simple_shot,
    sinkhorn_kmeans,
    soft_kmeans,
    tim,
)
from sib_jax.methods.parts import distances, examples
from sib_jax.tasks.episode import Episode

PARITY = Path(__file__).parents[1] / "parity"
WAYS = 5


def _episodes(shots):
    with np.load(PARITY / f"peers_episodes_{shots}shot.npz") as file:
        arrays = dict(file)
    for name in ("support_labels", "query_labels"):
        arrays[name] = arrays[name].astype(np.int32)
    return arrays


def _found(logits, settings, episodes, **more):
    def one(support, labels, query):
        return logits(settings, support, labels, query, ways=WAYS, **more)

    given = (episodes["support"], episodes["support_labels"], episodes["query"])
    return np.asarray(jax.jit(jax.vmap(one))(*given))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _scores(method, settings, support, labels, query):
    return method.logits(settings, support, labels, query, ways=3)


def _relu(episodes):
    shifted = {k: np.maximum(episodes[k] + np.float32(0.1), 0) for k in ("support", "query")}
    return {**episodes, **shifted}


SOFT = {
    "soft_kmeans": (soft_kmeans, soft_kmeans.Settings(distance="euclidean")),
    "sinkhorn_kmeans": (sinkhorn_kmeans, sinkhorn_kmeans.Settings(distance="euclidean")),
    "laplacian_shot": (laplacian_shot, laplacian_shot.Settings()),
    "tim_adm": (tim, tim.Settings("adm")),
    "tim_gradient": (tim, tim.Settings("gradient")),
    "alpha_tim": (alpha_tim, alpha_tim.Settings()),
    "pt_map": (pt_map, pt_map.Settings()),
    "gaussian_em": (gaussian_em, gaussian_em.Settings()),
    "gaussian_em/heavy": (gaussian_em, gaussian_em.Settings(support_weight=0.2)),
}


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("name", SOFT)
def test_soft_labels_are_those_of_the_authors_code(name, shots):
    method, settings = SOFT[name]
    episodes = _episodes(shots)
    if name == "pt_map":
        episodes = _relu(episodes)
    more = {"centre": episodes["base_mean"]} if name == "laplacian_shot" else {}
    found = _found(method.logits, settings, episodes, **more)
    file, _, part = name.partition("/")
    prefix = f"{shots}shot/{part + '/' if part else ''}"
    with np.load(PARITY / f"peers_{file}.npz") as want:
        probabilities = np.exp(found)
        if name == "soft_kmeans":
            probabilities = np.asarray(jax.nn.softmax(found))
        np.testing.assert_allclose(probabilities, want[prefix + "probabilities"], atol=1e-4)
        np.testing.assert_array_equal(np.argmax(found, axis=-1), want[prefix + "predictions"])


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("normalization", distances.NORMALIZATIONS)
def test_simple_shot_predicts_what_the_code_does(normalization, shots):
    episodes = _episodes(shots)
    settings = simple_shot.Settings(normalization)
    found = _found(simple_shot.logits, settings, episodes, centre=episodes["base_mean"])
    with np.load(PARITY / "peers_simple_shot.npz") as want:
        predictions = want[f"{shots}shot/{normalization}/predictions"]
    np.testing.assert_array_equal(np.argmax(found, axis=-1), predictions)


@pytest.mark.parametrize(
    ("normalization", "dtype"),
    [
        ("UN", np.float32),
        ("L2N", np.float32),
        ("L2N", np.float16),
        ("CL2N", np.float32),
        ("CL2N", np.float16),
    ],
)
def test_simple_shot_is_the_distance_of_transformed_features(normalization, dtype):
    vectors = (300 * np.random.default_rng(0).normal(size=(20, 64))).astype(
        dtype
    )  # squares overflow in half precision
    support, query, labels = vectors[:4], vectors[4:], np.asarray([0, 2, 1, 0])
    settings = simple_shot.Settings(normalization)
    found = _scores(simple_shot, settings, support, labels, query)
    support, query = (x.astype(np.float64) for x in (support, query))
    if normalization == "CL2N":
        centre = vectors.astype(np.float64).mean(0)
        support, query = support - centre, query - centre
    if normalization != "UN":
        support, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (support, query))
    means = np.stack([support[k == labels].mean(0) for k in range(3)])
    want = -((query[:, None] - means[None]) ** 2).sum(-1)
    np.testing.assert_allclose(found, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shots", [1, 5])
def test_bd_cspn_rectifies_as_the_code_does(shots):
    episodes = _episodes(shots)
    centre = episodes["base_mean"]

    def prototypes(support, labels, query):
        support, query = distances.transform(support, query, normalization="CL2N", centre=centre)
        given = examples.prepare(jnp.concatenate([support, query]), ways=WAYS, passes=4)
        return bd_cspn.rectified_as_code(given, labels, ways=WAYS) @ given.vectors

    given = (episodes["support"], episodes["support_labels"], episodes["query"])
    scores = _found(bd_cspn.logits, bd_cspn.Settings("code"), episodes, centre=centre)
    with np.load(PARITY / "peers_bd_cspn.npz") as want:
        found = jax.jit(jax.vmap(prototypes))(*given)
        np.testing.assert_allclose(found, want[f"{shots}shot/prototypes"], atol=1e-5)
        predictions = want[f"{shots}shot/predictions"]
    np.testing.assert_array_equal(np.argmax(scores, axis=-1), predictions)


# Few steps: what is tested below does not need more.
ALL = {
    "simple_shot UN": simple_shot.make(simple_shot.Settings("UN"), 3),
    "simple_shot L2N": simple_shot.make(simple_shot.Settings(), 3),
    "simple_shot CL2N": simple_shot.make(simple_shot.Settings("CL2N"), 3),
    "soft_kmeans": soft_kmeans.make(soft_kmeans.Settings(), 3),
    "soft_kmeans euclidean": soft_kmeans.make(soft_kmeans.Settings(distance="euclidean"), 3),
    "sinkhorn_kmeans": sinkhorn_kmeans.make(sinkhorn_kmeans.Settings(), 3),
    "bd_cspn code": bd_cspn.make(bd_cspn.Settings(), 3),
    "bd_cspn paper": bd_cspn.make(bd_cspn.Settings("paper"), 3),
    "laplacian_shot": laplacian_shot.make(laplacian_shot.Settings(), 3),
    "laplacian_shot means": laplacian_shot.make(laplacian_shot.Settings(rectify=False), 3),
    "tim adm": tim.make(tim.Settings(steps=20), 3),
    "tim gradient": tim.make(tim.Settings("gradient", steps=20, step_size=1e-2), 3),
    "alpha_tim": alpha_tim.make(alpha_tim.Settings(steps=20, step_size=1e-2), 3),
    "pt_map": pt_map.make(pt_map.Settings(), 3),
    "gaussian_em": gaussian_em.make(gaussian_em.Settings(), 3),
}
BALANCED = ("sinkhorn_kmeans", "pt_map")  # as many queries of each class
SCORES = ("simple_shot", "soft_kmeans", "bd_cspn")  # the others give log-probabilities
KEY = jax.random.key(0)


def _episode(seed=0, shots=(2, 1, 3), queries=(5, 4, 1), features=16):
    """Unequal shots and queries."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(3, features))

    def draw(counts):
        labels = np.repeat(np.arange(3), counts)
        examples = centres[labels] + 0.7 * random.normal(size=(len(labels), features))
        return examples.astype(np.float32), labels.astype(np.int32)

    return Episode(*draw(shots), *draw(queries))


@functools.cache
def _compiled(name):
    """(episode) -> (gradient by its features, logits)."""

    def total(features, episode):
        support, query = features
        found = ALL[name].logits({}, episode._replace(support=support, query=query), KEY)
        # The sum of balanced scores or log-probabilities alone would hardly change.
        return jnp.sum(jnp.sin(found)), found

    gradient = jax.grad(total, has_aux=True)
    return jax.jit(lambda episode: gradient((episode.support, episode.query), episode))


def _logits(name, episode):
    return np.asarray(_compiled(name)(episode)[1])


@pytest.mark.parametrize("name", ALL)
def test_is_an_untrained_method_that_finds_clusters(name):
    method, episode = ALL[name], _episode()
    assert not method.trained
    assert name.startswith(method.name.split()[0])
    assert method.init(KEY, None) == {}
    found = _logits(name, episode)
    assert found.shape == (10, 3)
    assert found.dtype == np.float32
    # The queries are 5, 4 and 1: wrong for those that take the classes to be equally frequent.
    right = np.mean(np.argmax(found, axis=1) == episode.query_labels)
    assert right >= (0.5 if name in (*BALANCED, "bd_cspn paper") else 0.8)
    if not name.startswith(SCORES):
        np.testing.assert_allclose(np.sum(np.exp(found), axis=1), 1, atol=0.05)


@pytest.mark.parametrize("name", ALL)
def test_other_order_of_classes_and_examples_reorders_the_logits(name):
    episode = _episode()
    new_label = np.asarray([2, 0, 1], np.int32)  # of the class that was 0, 1, 2
    supports = np.asarray([3, 0, 5, 1, 4, 2])
    queries = np.asarray([9, 2, 4, 0, 7, 1, 8, 3, 6, 5])
    other = Episode(
        episode.support[supports],
        new_label[episode.support_labels[supports]],
        episode.query[queries],
        new_label[episode.query_labels[queries]],
    )
    want = _logits(name, episode)[queries]
    found = _logits(name, other)[:, new_label]
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_its_episodes_one_by_one(name):
    episodes = [_episode(seed) for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *episodes)
    found = jax.jit(jax.vmap(lambda episode: ALL[name].logits({}, episode, KEY)))(batch)
    for one, episode in zip(found, episodes, strict=True):
        np.testing.assert_allclose(one, _logits(name, episode), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_logits_and_gradients_are_finite(name):
    usual = _episode()
    ones, zeros = (
        usual._replace(support=fill(usual.support), query=fill(usual.query))
        for fill in (np.ones_like, np.zeros_like)
    )
    used = np.float32(np.arange(16) != 3)
    unused = usual._replace(support=usual.support * used, query=usual.query * used)
    without_class_0 = usual._replace(query=np.tile(usual.query[9:], (10, 1)))
    for episode in (usual, ones, zeros, unused, without_class_0):
        found = _compiled(name)(episode)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
    single = usual._replace(query=usual.query[:1], query_labels=usual.query_labels[:1])
    found = jax.jit(lambda episode: ALL[name].logits({}, episode, KEY))(single)
    assert np.all(np.isfinite(found))


def test_balanced_assignments_are_balanced():
    episode = _episode()
    for name in BALANCED:
        assignment = np.exp(_logits(name, episode))
        np.testing.assert_allclose(assignment.sum(0), 10 / 3, rtol=1e-5)


def test_soft_kmeans_is_its_loop_written_out():
    episode = _episode()
    unit = [np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in episode[:3:2]]
    labels = np.eye(3)[np.asarray(episode.support_labels)]
    prototypes = labels.T @ unit[0] / labels.sum(0)[:, None]

    def scores():
        directions = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)
        return 10 * unit[1] @ directions.T

    for _ in range(10):
        assigned = np.exp(scores())
        assigned /= assigned.sum(1, keepdims=True)
        sums = labels.T @ unit[0] + assigned.T @ unit[1]
        prototypes = sums / (labels.sum(0) + assigned.sum(0))[:, None]
    found = _logits("soft_kmeans", episode)
    np.testing.assert_allclose(found, scores(), rtol=1e-4, atol=1e-4)


def test_soft_kmeans_without_steps_is_the_nearest_class_mean():
    episode = _episode()
    settings = soft_kmeans.Settings(steps=0, scale=1.0, distance="euclidean")
    found = _scores(soft_kmeans, settings, *episode[:3])
    want = np.asarray(_scores(simple_shot, simple_shot.Settings("UN"), *episode[:3]))
    np.testing.assert_allclose(found, want - want.max(1, keepdims=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", [soft_kmeans, sinkhorn_kmeans])
def test_k_means_of_a_centred_task_is_that_of_differences_from_its_mean(method):
    """Also where all features point much the same way, and cosines as they are tell little."""
    support, labels, query = (np.asarray(part) for part in _episode()[:3])
    common = 20 * np.eye(1, support.shape[1], dtype=np.float32)
    given = [part + common for part in (support, query)]
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in given]
    apart = [part - np.concatenate(unit).mean(0) for part in unit]
    found, wanted, plain = (
        np.asarray(_scores(method, settings, of_support, labels, of_query))
        for settings, (of_support, of_query) in (
            (method.Settings(centre=True), given),
            (method.Settings(), apart),
            (method.Settings(), given),
        )
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    odds = [np.exp(scores - scores.max(1, keepdims=True)) for scores in (found, plain)]
    sure = [np.mean(1 / each.sum(1)) for each in odds]
    assert sure[1] < 0.4 < sure[0]


def test_soft_kmeans_of_large_features_is_finite():
    features = np.float32(1e4) * np.random.default_rng(0).standard_normal((100, 640), np.float32)
    settings = soft_kmeans.Settings(distance="euclidean")
    run = jax.jit(functools.partial(soft_kmeans.logits, settings, ways=5))
    found = np.asarray(run(features[:25], np.arange(25) % 5, features[25:]))
    assert np.isfinite(np.exp(found - found.max(1, keepdims=True))).all()


@pytest.mark.parametrize("most", [0, 2, 8])
def test_bd_cspn_in_the_papers_form_takes_the_most_confident_queries(most):
    episode = _episode()
    support, labels, query = (np.asarray(x) for x in episode[:3])
    rectified = jax.jit(bd_cspn.rectified, static_argnames=("ways", "pseudo_labels"))
    found = rectified(support, labels, query, ways=3, pseudo_labels=most)
    means = np.stack([support[labels == k].mean(0) for k in range(3)])

    def cosines(x):
        lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(means, axis=1)
        return x @ means.T / lengths

    confidence = np.exp(10 * cosines(query))
    confidence /= confidence.sum(1, keepdims=True)
    for k in range(3):
        own = [i for i in range(len(query)) if confidence[i].argmax() == k]
        own = sorted(own, key=lambda i: -confidence[i, k])[:most]
        examples = np.concatenate([support[labels == k], query[own]])
        weights = np.exp(10 * cosines(examples)[:, k])
        want = weights @ examples / weights.sum()
        np.testing.assert_allclose(found[k], want, rtol=1e-4, atol=1e-5)


def test_shifted_queries_have_the_mean_of_the_support_set():
    episode = _episode()
    moved = np.asarray(bd_cspn.shift(episode.support, episode.query))
    np.testing.assert_allclose(moved.mean(0), episode.support.mean(0), rtol=1e-4, atol=1e-5)


def test_laplacian_shot_without_its_term_is_the_nearest_prototype():
    episode = _episode()
    settings = laplacian_shot.Settings(weight=0.0, rectify=False, normalization="L2N")
    found = _scores(laplacian_shot, settings, *episode[:3])
    want = np.asarray(_scores(simple_shot, simple_shot.Settings("L2N"), *episode[:3]))
    want = want - np.log(np.exp(want).sum(1, keepdims=True))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("neighbours", [0, 2, 20])
def test_a_query_is_not_its_own_neighbour(neighbours):
    query = np.concatenate([_episode().query, _episode().query])  # each one twice
    affinity = jax.jit(laplacian_shot.affinity, static_argnums=1)
    found = np.asarray(affinity(query @ query.T, neighbours))
    np.testing.assert_array_equal(np.diag(found), 0)
    np.testing.assert_array_equal(found.sum(1), min(neighbours, 19))
    if neighbours:  # its equal is
        np.testing.assert_array_equal(found[np.arange(20), (np.arange(20) + 10) % 20], 1)


def test_tim_by_gradient_lowers_what_it_minimizes():
    episode = _episode()
    settings = tim.Settings("gradient", steps=50, step_size=1e-2)

    def objective(found):
        return tim.entropy(tim.log_marginal(found)) - 0.1 * jnp.mean(tim.entropy(found))

    before = _scores(tim, settings._replace(steps=0), *episode[:3])
    assert objective(_scores(tim, settings, *episode[:3])) > objective(before)


def test_alpha_tim_with_alpha_1_is_tim():
    episode = _episode()
    weights = {"support_weight": 0.1, "marginal_weight": 1.0, "conditional_weight": 0.1}
    few = {"steps": 30, "step_size": 1e-2}
    settings = alpha_tim.Settings(alpha=1.0, **few, **weights)
    found = _scores(alpha_tim, settings, *episode[:3])
    want = _scores(tim, tim.Settings("gradient", **few, **weights), *episode[:3])
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_alpha_entropy_tends_to_shannons():
    log_probs = jax.nn.log_softmax(jnp.asarray([0.3, -1.0, 2.0]))
    found = alpha_tim.alpha_entropy(log_probs, 1.001)
    np.testing.assert_allclose(found, tim.entropy(log_probs), rtol=2e-3)


def test_pt_map_does_not_depend_on_a_rotation_after_the_power():
    """Why the authors' QR decomposition can be left out."""
    episode = _episode()
    random = np.random.default_rng(1).standard_normal((16, 16))
    rotation = np.linalg.qr(random)[0].astype(np.float32)
    support, query = episode.support @ rotation, episode.query @ rotation
    settings = pt_map.Settings(power=1.0)
    found = _scores(pt_map, settings, support, episode.support_labels, query)
    want = _scores(pt_map, settings, *episode[:3])
    np.testing.assert_allclose(found, want, rtol=1e-2, atol=1e-2)


def test_gaussian_em_keeps_the_nearest_queries():
    unit = jnp.eye(4)
    near = jnp.asarray([[0.8, 0.6, 0.0, 0.0]])
    want = [[0.8, 0.6, 0.0, 0.0]]
    np.testing.assert_allclose(gaussian_em.affinity(near, unit, 2), want, rtol=1e-6)
    np.testing.assert_allclose(gaussian_em.affinity(near, unit, 1), [[0.8, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(gaussian_em.affinity(unit, unit, 2, same=True), 0)
    assert gaussian_em.affinity(near, near, 3, same=True) == 0


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        (simple_shot, simple_shot.Settings("CL2"), "unknown normalization 'CL2'"),
        (soft_kmeans, soft_kmeans.Settings(distance="l1"), "unknown distance 'l1'"),
        (bd_cspn, bd_cspn.Settings("book"), "unknown form 'book'"),
        (tim, tim.Settings("sgd"), "unknown variant 'sgd'"),
    ],
)
def test_unknown_names_are_told(method, settings, said):
    with pytest.raises(ValueError, match=said):
        method.logits(settings, *_episode()[:3], ways=3)


@pytest.mark.parametrize("method", ["gaussian_em", "sinkhorn_kmeans", "pt_map"])
def test_without_neighbours_or_balance_it_still_classifies(method):
    """`neighbours` and `iterations` may be 0: clusters far apart are told apart all the same."""
    entry = METHODS[method]
    field = "neighbours" if method == "gaussian_em" else "iterations"
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    features = np.abs(np.eye(3, 16)[labels] + rng.normal(0, 0.1, (36, 16))).astype(np.float32)
    first = np.isin(np.arange(36), [0, 12, 24])
    episode = Episode(features[first], labels[first], features[~first], labels[~first])
    made = entry.make(entry.settings(**{field: 0}), 3)
    found = jax.jit(lambda e: made.logits({}, e, KEY))(episode)
    np.testing.assert_array_equal(np.argmax(found, axis=1), labels[~first])
