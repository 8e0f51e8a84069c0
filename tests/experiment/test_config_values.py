"""Any value in any field: refused by name in one line, or a program that can be compiled."""

import copy

import pytest

from sib_jax import config as sib_config
from sib_jax.config import default, fields, flat
from sib_jax.errors import UserError
from sib_jax.experiment import memory, settings
from sib_jax.methods import METHODS

hypothesis = pytest.importorskip("hypothesis")

from fuzzing import REFUSED, bounded, cases, write_report  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.integers(),
    st.sampled_from([10**9, 10**30, -(10**400), 2**32, 2**63]),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from(["wrn_28_10", "wrn_9999999994_1", "wrn_10_0", "../../x", "gaussian", "lwof"]),
)
_VALUES = st.one_of(
    _PLAIN,
    st.lists(_PLAIN, max_size=3).map(tuple),
    st.lists(_PLAIN, max_size=3),
    st.dictionaries(st.text(max_size=3), _PLAIN, max_size=2),
    st.tuples(st.tuples(st.text(max_size=3), st.dictionaries(st.text(max_size=8), _PLAIN))),
)
_NAMES = sorted(set(fields()) - {"method", "heads"})


@st.composite
def _changes(draw):
    """A method, and values of a few fields: random ones, or near their defaults."""
    method = draw(st.sampled_from(sorted(METHODS)))
    near = [name for name in _NAMES if "." not in name or name.split(".")[0] == method]
    names = st.one_of(st.sampled_from(_NAMES), st.sampled_from(near))
    changes = draw(st.dictionaries(names, st.one_of(_VALUES, st.integers(0, 9)), max_size=3))
    return method, changes


BASE = default()


@cases(200)
@hypothesis.given(_changes(), st.booleans())
def test_any_value(made, in_a_head):
    method, changes = made
    config = copy.deepcopy(BASE)
    if in_a_head:
        config.heads = (("own", {"method": method, **changes}),)
    else:
        with config.unlocked(), config.ignore_type():
            config.method = method
            for name, value in changes.items():
                *above, last = name.split(".")
                part = config
                for step in above:
                    part = part[step]
                try:
                    part[last] = value
                except (OverflowError, ValueError):  # where a config file itself would end
                    return

    def read():
        experiment = settings.read(config)
        memory.check(experiment, available=lambda: 8 << 30)
        return experiment

    found = bounded("config fields", read)
    if found is not REFUSED:
        (head,) = found.heads
        of = sib_config.heads(config)[head.name]
        for name, field in fields().items():
            assert field.kind.fits(flat(of)[name])


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("soft_kmeans.distance", "far", "soft_kmeans cannot work: unknown distance 'far'; known"),
        ("bd_cspn.form", "new", "bd_cspn cannot work: unknown form 'new'; known are"),
        (
            "tim.steps",
            "ten",
            "tim.steps is 'ten', but must be a whole number from 0 to 100,000, or None",
        ),
        ("soft_kmeans.scale", -10.0, "soft_kmeans.scale is -10.0, but must be a number from 0"),
        (
            "prototypical.scale",
            float("nan"),
            "prototypical.scale is nan, but must be a number from 0",
        ),
        ("snail.keys", (1, 2), "snail.keys is (1, 2), but must be a tuple of 3, each a whole"),
        ("matching.full_context", 1, "matching.full_context is 1, but must be True or False"),
    ],
)
def test_a_setting_of_a_method_is_refused_by_name(field, value, wanted):
    config = default()
    config.heads = (("own", {"method": field.split(".")[0], field: value}),)
    with pytest.raises(UserError) as raised:
        settings.read(config)
    assert wanted in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture(autouse=True)
def _report():
    yield
    write_report()


def test_what_begins_below_0_may_be_below_0():
    from sib_jax.field import of_type

    assert of_type(float, -1.0).fits(-3.0)
    assert of_type(float | None, -1.0).fits(-3.0)
    assert of_type(tuple[float, float], (-1.0, 2.0)).fits((-3.0, 1.0))
    assert not of_type(float | None, None).fits(-3.0)
