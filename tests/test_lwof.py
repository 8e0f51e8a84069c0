"""Learning without forgetting: what an episode holds and what is scored; labels stay unseen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Mixture, classifier, episodes, gaussian, lwof

CLASSES, IMAGES, FEATURES, WAYS, SHOTS, QUERIES = 8, 12, 6, 3, 2, 4


@pytest.fixture
def table():
    """The features of an image say its class and its place: [class, image, noise ...]."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    features = rng.standard_normal((len(labels), FEATURES)).astype(np.float32)
    features[:, 0], features[:, 1] = labels, np.tile(np.arange(IMAGES), CLASSES)
    return episodes.feature_table(features, labels)


def _params(posterior="point", summary=1):
    return sib_jax.init(
        jax.random.key(1),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior="mixture",
        components=CLASSES,
        initial_std=0.1,
        summary=summary,
    )


def _drawn(table, seed=0):
    shape = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES}
    return lwof.sample_training(jax.random.key(seed), table, **shape)


def test_pretended_novel_classes_are_no_base_classes_of_their_episode(table):
    for seed in range(20):
        episode = _drawn(table, seed)
        novel = set(np.asarray(episode.support[:, 0], int))
        base = np.asarray(episode.base)
        assert len(novel) == WAYS
        assert novel.isdisjoint(base)
        assert novel | set(base) == set(range(CLASSES))


def test_labels_say_which_class_a_query_is_of(table):
    episode = _drawn(table)
    novel = np.asarray(episode.support[::SHOTS, 0], int)  # the class behind each label
    of_label = np.concatenate([novel, np.asarray(episode.base)])
    np.testing.assert_array_equal(of_label[episode.query_labels], episode.query[:, 0])
    assert np.sum(episode.query_labels < WAYS) == WAYS * QUERIES
    assert np.sum(episode.query_labels >= WAYS) == WAYS * QUERIES


def test_no_image_is_drawn_twice(table):
    for seed in range(20):
        episode = _drawn(table, seed)
        images = np.concatenate([episode.support, episode.query])[:, :2]
        assert len(np.unique(images, axis=0)) == len(images)


def test_base_queries_are_drawn_evenly_from_all_base_images(table):
    keys = jax.random.split(jax.random.key(3), 400)
    draw = lambda key: lwof.sample_evaluation(  # noqa: E731
        key, table, table, ways=WAYS, shots=SHOTS, queries=QUERIES
    )
    drawn = jax.vmap(draw)(keys)
    base = drawn.query[:, WAYS * QUERIES :, :2].reshape(-1, 2).astype(int)
    counts = np.zeros((CLASSES, IMAGES))
    np.add.at(counts, (base[:, 0], base[:, 1]), 1)
    expected = len(base) / counts.size  # 50 an image, so a standard deviation of 7
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_accuracies_are_those_counted_by_hand(table):
    params, episode = _params(), _drawn(table)
    found = lwof.accuracies(params, episode, steps=0, step_size=0.0)
    start = sib_jax.initial_posterior(params, episode.support, episode.support_labels, ways=WAYS)
    weights = np.concatenate([start.mean, params.prior.means[episode.base]])
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    cosine = np.asarray(classifier.normalize(episode.query)) @ weights.T
    correct = {"novel": [], "base": [], "both": []}
    for scores, label in zip(cosine, np.asarray(episode.query_labels), strict=True):
        correct["both"].append(np.argmax(scores) == label)
        if label < WAYS:
            correct["novel"].append(np.argmax(scores[:WAYS]) == label)
        else:
            correct["base"].append(np.argmax(scores[WAYS:]) == label - WAYS)
    for name, expected in correct.items():
        np.testing.assert_allclose(getattr(found, name), np.mean(expected), atol=1e-6)


def test_the_learned_bias_stands_between_novel_and_base_classes(table):
    params, episode = _params(), _drawn(table)
    given = params._replace(classifier=params.classifier._replace(bias=jnp.asarray(-5.0)))
    found = lwof.accuracies(given, episode, steps=0, step_size=0.0)
    without = lwof.accuracies(params, episode, steps=0, step_size=0.0)
    # Cosines differ by 2 at most, so no query is called novel any more; within each kind of
    # classes nothing changes.
    np.testing.assert_allclose((found.novel, found.base), (without.novel, without.base), atol=1e-6)
    np.testing.assert_allclose(found.both, without.base / 2, atol=1e-6)


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_query_labels_do_not_reach_the_posterior(table, posterior):
    params, episode = _params(posterior), _drawn(table)
    other = episode._replace(query_labels=jnp.roll(episode.query_labels, 5))
    run = lambda e: lwof.negative_elbo(  # noqa: E731
        params, e, steps=3, step_size=0.1, key=jax.random.key(0)
    )
    (loss, (aux, _)), (other_loss, (other_aux, _)) = run(episode), run(other)
    jax.tree.map(np.testing.assert_array_equal, aux.posterior, other_aux.posterior)
    assert loss != other_loss


def test_the_loss_is_the_bound_over_all_classes(table):
    params, episode = _params(), _drawn(table)
    loss, (aux, _) = lwof.negative_elbo(params, episode, steps=2, step_size=0.05, beta=0.3)
    means = params.prior.means[episode.base]
    scale, bias = params.classifier
    unit = classifier.normalize(episode.query)
    novel = scale * (bias + unit @ classifier.normalize(aux.posterior.mean).T)
    base = scale * (unit @ classifier.normalize(means).T)
    scores = jax.nn.log_softmax(jnp.concatenate([novel, base], axis=1))
    expected = -jnp.sum(scores[jnp.arange(len(unit)), episode.query_labels])
    prior = Mixture(means, params.prior.log_std)
    expected += 0.3 * jnp.sum(gaussian.kl(aux.posterior, prior))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", lwof.SUMMARIES)
def test_the_gradient_network_sees_of_the_base_classes_what_was_asked_for(table, kind):
    params = _params(summary=0 if kind == "none" else 1)
    episode = _drawn(table)

    def adapted(means):
        changed = params._replace(prior=params.prior._replace(means=means))
        # Without a KL term only the summary can carry the base weights to theta.
        _, (aux, _) = lwof.negative_elbo(
            changed, episode, steps=2, step_size=0.1, beta=0.0, summary=kind
        )
        return aux.posterior.mean

    means = params.prior.means
    one, other = adapted(means), adapted(jnp.flip(means, axis=1))
    assert bool(jnp.all(one == other)) == (kind == "none")
    logits = jax.random.normal(jax.random.key(5), (7, 4))
    expected = {"logsumexp": np.log(np.sum(np.exp(logits), 1)), "max": np.max(logits, 1)}
    if kind != "none":
        np.testing.assert_allclose(lwof.summarize(logits, kind)[:, 0], expected[kind], rtol=1e-5)


def test_parameters_without_base_classes_are_refused(table):
    params = sib_jax.init(jax.random.key(0), ways=WAYS, features=FEATURES, summary=1)
    with pytest.raises(ValueError, match="prior='mixture'"):
        lwof.accuracies(params, _drawn(table), steps=0, step_size=0.0)
