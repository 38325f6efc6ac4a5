import gzip

from django.contrib.staticfiles import finders

SCRIPT_BYTES = 6000


def test_script_stays_small():
    with open(finders.find("viewerhub/viewerhub.js"), "rb") as file:
        sent = gzip.compress(file.read(), compresslevel=9)

    assert len(sent) < SCRIPT_BYTES
