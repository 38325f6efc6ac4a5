"""100,000 launches: what Weasis's own rules read in a URI is what it was built from."""

import secrets
from collections import Counter

from launcher.weasis import NotCarriableError
from tests.weasis_launches import Reader, Wanted, read_launch
from tests.weasis_uri import parse_uri

LAUNCHES = 100_000
BYTES = 84  # of one launch, more than nearly all of them read
seen = Counter()


def check(wanted: Wanted) -> None:
    """Refused, or read as it was meant."""
    try:
        uri = wanted.build()
    except NotCarriableError:
        seen["refused"] += 1
        return
    seen["carried"] += 1
    assert uri.isascii(), wanted
    assert uri.endswith("%22"), wanted  # nothing that Windows would cut off
    launch = parse_uri(uri)
    assert launch.commands == wanted.commands(), wanted
    assert launch.properties == wanted.properties(), wanted
    for name in ("cdb", "wcfg"):
        value = getattr(wanted.options, name)
        carried = launch.configuration.get(name, [])
        assert carried == ([value] if value else []), wanted


def test_weasis_reads_what_a_uri_was_built_from():
    """Others in each run; a failure shows its launch."""
    for _ in range(LAUNCHES):
        reader = Reader(secrets.token_bytes(BYTES))
        check(read_launch(reader))
        seen["exhausted"] += reader.is_exhausted

    assert seen["carried"] + seen["refused"] == LAUNCHES
    assert seen["carried"] > 0.3 * LAUNCHES, "too little is carried to prove much"
    assert seen["refused"] > 0.2 * LAUNCHES, "too little is refused to prove much"
    assert seen["exhausted"] < 0.1 * LAUNCHES
