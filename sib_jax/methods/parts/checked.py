"""An episode as users write one: lists in place of arrays, and labels that may be wrong."""

from sib_jax.sib import checks
from sib_jax.tasks.episode import Episode


def checked(episode: Episode, ways: int) -> Episode:
    """The episode with arrays in place of lists; the labels of its queries are not looked at.

    Args:
      episode: of features.
      ways: k.

    Raises:
      TypeError: labels of the support set are no integers.
      ValueError: features are not [m, d] and [n, d], or labels are not of the classes 0 to k - 1,
        each of which has an example. Inside jit values are not known, and shapes alone checked.
    """
    support = checks.features("support", episode.support)
    query = checks.features("query", episode.query)
    if query.shape[1] != support.shape[1]:
        raise ValueError(
            f"query has features of length {query.shape[1]}, but support of {support.shape[1]}"
        )
    labels = checks.labels(
        "support_labels",
        episode.support_labels,
        support,
        ways,
        every=ways,
        known_as=f"ways={ways}",
    )
    return episode._replace(support=support, support_labels=labels, query=query)
