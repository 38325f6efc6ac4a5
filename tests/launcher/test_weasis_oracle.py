"""100,000 launches: what Weasis's own rules read in a URI is what it was built from."""

from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from launcher.weasis import NotCarriableError
from tests.weasis_launches import Reader, Wanted, read_launch
from tests.weasis_uri import parse_uri

LAUNCHES, BATCHES, LAUNCHES_IN_A_BATCH = 100_000, 1_450, 72
# Each launch is drawn by itself, from more bytes than nearly all of them read; together
# they are an example of hypothesis, which takes as long for one launch as for some.
LAUNCH = st.binary(min_size=84, max_size=84)
BATCH = st.lists(
    LAUNCH,
    min_size=LAUNCHES_IN_A_BATCH,
    max_size=LAUNCHES_IN_A_BATCH,
    unique=True,  # or most batches would be another one with a launch in it twice
)
drawn: set[bytes] = set()
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
    database=None,  # batches are large, and found again by their seed
    phases=[Phase.generate],  # shrinking a batch takes minutes
)
def check_batch(batch: list[bytes]) -> None:
    for content in batch:
        if content in drawn:  # hypothesis likes to draw a value again
            continue
        drawn.add(content)
        reader = Reader(content)
        check(read_launch(reader))
        seen["exhausted"] += reader.is_exhausted


def test_weasis_reads_what_a_uri_was_built_from():
    check_batch()

    assert len(drawn) >= LAUNCHES
    assert seen["carried"] + seen["refused"] == len(drawn)
    assert seen["carried"] > 0.3 * len(drawn), "too little is carried to prove much"
    assert seen["refused"] > 0.2 * len(drawn), "too little is refused to prove much"
    assert seen["exhausted"] < 0.1 * len(drawn)
