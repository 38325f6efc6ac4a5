"""100,000 launches: what Weasis's own rules read in a URI is what it was built from."""

from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from launcher.weasis import NotCarriableError
from tests.weasis_launches import Reader, Wanted, read_launch
from tests.weasis_uri import parse_uri

BATCHES, LAUNCHES_IN_A_BATCH = 1_000, 100
# What 100 launches read at most, so that none of them is made of the zeros at the end.
BATCH = st.binary(min_size=4_800, max_size=4_800)
seen = Counter()


def check(wanted: Wanted) -> None:
    """Refused, or read as it was meant."""
    try:
        uri = wanted.build()
    except NotCarriableError:
        seen["refused"] += 1
        return
    seen["carried"] += 1
    assert uri.isascii()
    assert uri.endswith("%22")  # nothing that Windows would cut off
    launch = parse_uri(uri)
    assert launch.commands == wanted.commands(), wanted
    assert launch.properties == wanted.properties()
    for name in ("cdb", "wcfg"):
        value = getattr(wanted.options, name)
        assert launch.configuration.get(name, []) == ([value] if value else [])


@given(batch=BATCH)
@settings(
    max_examples=BATCHES,
    suppress_health_check=list(HealthCheck),
    database=None,  # a batch is large, and found again by its seed
    phases=[Phase.generate],  # shrinking a batch takes minutes
)
def check_batch(batch: bytes) -> None:
    reader = Reader(batch)
    for _ in range(LAUNCHES_IN_A_BATCH):
        check(read_launch(reader))
    seen["exhausted"] += reader.is_exhausted


def test_weasis_reads_what_a_uri_was_built_from():
    check_batch()

    assert seen["carried"] + seen["refused"] >= BATCHES * LAUNCHES_IN_A_BATCH
    assert seen["carried"] > 0.3 * seen.total(), "too little is carried to prove much"
    assert seen["refused"] > 0.2 * seen.total(), "too little is refused to prove much"
    assert seen["exhausted"] < 0.01 * BATCHES
