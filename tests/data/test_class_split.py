"""Classes divided by shares: every part has some, whatever the shares."""

from hypothesis import given
from hypothesis import strategies as st

from sib_jax.data import class_split

share = st.floats(0.01, 100)


@given(st.integers(3, 60), st.tuples(share, share, share))
def test_every_part_has_a_class_and_no_class_is_in_two(count, shares):
    train, val, test = (range(count)[part] for part in class_split.parts(count, shares))
    assert min(len(train), len(val), len(test)) >= 1
    assert [*train, *val, *test] == list(range(count))


@given(st.integers(30, 200), st.tuples(share, share, share))
def test_parts_are_as_large_as_their_shares_say(count, shares):
    for part, wanted in zip(class_split.parts(count, shares), shares, strict=True):
        # Both ends are rounded, and moved by two at most where a part would be empty.
        assert abs(len(range(count)[part]) - count * wanted / sum(shares)) <= 3
