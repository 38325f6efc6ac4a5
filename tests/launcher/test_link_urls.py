"""Launching by signed links."""

from __future__ import annotations

import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import cache
from django.test import Client

from launcher import signed_links
from launcher.launching import links
from launcher.launching.refusals import RefusedError
from launcher.models import Launch
from tests.factories import make_api_client, make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
JSON = {"accept": "application/json"}


@pytest.fixture
def ris():
    cache.clear()
    make_dimse_archive()
    client, _ = make_api_client(slug="ris", signing_secret="s3cret")
    return client


def sign(path="/weasis", parameters=(("patientID", "1CT1"),), **values):
    defaults = {
        "client": "ris",
        "secret": "s3cret",
        "expires": int(time.time()) + 250,
        "nonce": "n-12345678",
    }
    return signed_links.sign(path, parameters, **(defaults | values))


def get(link, **headers):
    return Client().get(link, headers=JSON | headers)


def reason(response):
    assert response.status_code == 403
    [error] = response.json()["errors"]
    assert error["field"] == "sig"
    return error["message"]


@pytest.mark.parametrize("path", ["/weasis", "/display", "/display/weasis"])
def test_signed_link_launches_for_its_client(ris, path):
    response = get(sign(path))

    assert response.status_code == 302
    launch = Launch.objects.get()
    assert (launch.api_client, launch.origin) == (ris, Launch.Origin.LINK)
    ris.refresh_from_db()
    assert ris.last_used


def test_signed_link_asks_the_archives_of_its_client_only(ris):
    closed = make_dimse_archive(name="Other", slug="other")
    ris.archives.add(closed)

    assert get(sign()).status_code == 302
    assert list(Launch.objects.get().build.archives.all()) == [closed]
    refused = get(sign(parameters=[("patientID", "1"), ("archive", "main")]))
    assert refused.status_code == 400


@pytest.mark.usefixtures("ris")
def test_replay_is_refused():
    link = sign()
    assert get(link).status_code == 302

    answers = {get(link).status_code for _ in range(20)}

    assert answers == {403}
    assert Launch.objects.count() == 1
    assert "used already" in reason(get(link))


@pytest.mark.usefixtures("ris")
def test_link_is_claimed_once_of_a_thousand_times_at_once():
    path, _, query = sign().partition("?")
    link = signed_links.read(path, query)

    def claim(_):
        try:
            links.claim(link)
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim, range(1000)))

    assert sum(claimed) == 1


@pytest.mark.usefixtures("ris")
def test_replay_from_a_browser_is_a_page_that_says_what_to_do():
    link = sign()
    get(link)

    response = get(link, accept="text/html")

    assert response.status_code == 403
    assert b"Go back to where it came from" in response.content


@pytest.mark.usefixtures("ris")
def test_mutated_links_are_refused(settings):
    settings.VIEWERHUB_TRUSTED_NETWORKS = ["127.0.0.0/8"]  # not even from here
    link = sign()
    generator = random.Random(7)
    browser = Client()
    for _ in range(60):
        at = generator.randrange(link.index("?") + 1, link.index("&sig="))
        mutated = link[:at] + generator.choice("0aZ%+") + link[at + 1 :]
        if mutated != link:
            assert browser.get(mutated, headers=JSON).status_code == 403

    assert not Launch.objects.exists()
    assert get(link).status_code == 302


@pytest.mark.usefixtures("ris")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"expires": 1}, "expired"),
        ({"expires": int(time.time()) + 100_000}, "at most 300 seconds"),
        ({"secret": "other"}, "not right"),
        ({"client": "nobody"}, "not right"),
    ],
)
def test_link_against_the_rules_is_refused(values, message):
    assert message in reason(get(sign(**values)))
    assert not Launch.objects.exists()


@pytest.mark.parametrize(
    "values", [{"is_enabled": False}, {"scopes": ["search"]}, {"signing_secret": ""}]
)
def test_link_of_a_client_that_may_not_is_refused(ris, values):
    for name, value in values.items():
        setattr(ris, name, value)
    ris.save()

    assert "not right" in reason(get(sign()))


@pytest.mark.usefixtures("ris")
def test_bad_link_of_a_user_is_not_made_up_for_by_the_session(django_user_model):
    user = Client()
    user.force_login(django_user_model.objects.create_user("alice"))

    assert user.get(sign(secret="other"), headers=JSON).status_code == 403


@pytest.mark.usefixtures("ris")
def test_head_does_not_use_a_link_up():
    link = sign()

    assert Client().head(link).status_code == 200
    assert get(link).status_code == 302


@pytest.mark.usefixtures("ris")
def test_link_is_not_used_up_while_the_queue_is_down(valkey):
    link = sign()
    valkey.stop()
    try:
        assert get(link).status_code == 503
    finally:
        valkey.start()

    assert get(link).status_code == 302


@pytest.mark.usefixtures("ris")
def test_unreadable_secret_is_503(settings):
    settings.VIEWERHUB_ENCRYPTION_KEYS = ["another key, so that the old is unreadable"]

    assert get(sign()).status_code == 503


@pytest.mark.usefixtures("ris")
def test_posted_body_has_to_be_signed_too():
    body = b'{"patientID": "1CT1"}'
    digest = hashlib.sha256(body).hexdigest()
    link = sign("/display", [("bodySHA256", digest)])

    def post(link, body):
        return Client(enforce_csrf_checks=True).post(
            link, body, content_type="application/json", headers=JSON
        )

    assert "bodySHA256" in reason(post(sign("/display", []), body))
    assert "bodySHA256" in reason(post(link, body.replace(b"1CT1", b"9999")))
    assert post(link, body).status_code == 302


@pytest.mark.usefixtures("ris")
@pytest.mark.parametrize("method", ["get", "head", "post"])
def test_link_for_a_body_opens_nothing_without_it(method):
    digest = hashlib.sha256(b'{"modalitiesInStudy": "CT"}').hexdigest()
    link = sign("/display", [("patientID", "1CT1"), ("bodySHA256", digest)])

    response = getattr(Client(), method)(link, headers=JSON)

    assert response.status_code == 403
    assert not Launch.objects.exists()
