import re
from datetime import timedelta
from html import unescape

import pytest
import redis
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from archives.embedded import EmbeddedArchive
from archives.entities import Selection, SeriesIdentifier
from archives.models import Archive
from launcher import services
from launcher.models import ArchiveOutcome, Build, Launch, LaunchTemplate, Viewer
from launcher.search import store as search_store
from launcher.tasks import build_manifest
from launcher.views import launch_pages
from tests.factories import make_dicomweb_archive, make_dimse_archive, make_launch

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]
HTMX = {"HX-Request": "true"}
CREATE = "/launch/"


@pytest.fixture(scope="module")
def files(dicom_files):
    return dicom_files.paths(dicom_files.group("demo"))


@pytest.fixture(scope="module")
def served(files):
    with EmbeddedArchive(files) as running:
        yield running


@pytest.fixture
def alice():
    return User.objects.create_user("alice")


@pytest.fixture
def client(alice):
    client = Client()
    client.force_login(alice)
    return client


def text_of(response):
    return " ".join(
        unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split()
    )


def opened(client, *, headers=HTMX, **fields):
    return client.post(CREATE, fields, headers=headers)


def state(client, launch, query=""):
    return client.get(f"/launch/{launch.pk}/state/{query}", headers=HTMX)


def test_button_leads_to_another_viewer_that_the_template_names(client):
    make_dimse_archive()
    viewer = Viewer.objects.create(
        name="Web", slug="web", url_template="https://web.example/?s={study_uids}"
    )
    LaunchTemplate.objects.filter(pk=LaunchTemplate.objects.default().pk).update(
        viewer=viewer
    )
    fields = {"study_instance_uid": "1.2.3", "archive": "main"}

    by_htmx = opened(client, **fields)
    by_form = opened(client, headers={}, **fields)

    assert by_htmx["HX-Redirect"] == "https://web.example/?s=1.2.3"
    assert by_form["Location"] == "https://web.example/?s=1.2.3"
    assert set(Launch.objects.values_list("state", flat=True)) == {"fetched"}


def test_uploaded_manifest_is_opened_again(client, alice):
    template = LaunchTemplate.objects.default()
    manifest = "<manifest/>"
    services.start_uploaded(manifest, template=template, user=alice)
    launch = Launch.objects.get()

    answer = client.post(f"/launch/{launch.pk}/retry/", headers=HTMX)

    assert 'data-weasis="weasis://?' in answer.content.decode()
    assert Launch.objects.count() == 2
    again = Launch.objects.exclude(pk=launch.pk).get()
    assert again.build.uploaded_manifest == manifest


@pytest.fixture
def staff():
    """A client of somebody who may view the launches of all."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_launch"))
    client = Client()
    client.force_login(user)
    return client


def test_uploaded_manifest_of_others_is_not_opened(staff, alice):
    template = LaunchTemplate.objects.default()
    owned = services.start_uploaded("<manifest/>", template=template, user=alice)
    nobodys = services.start_uploaded("<manifest/>", template=template)

    for started in (owned, nobodys):
        answer = staff.post(f"/launch/{started.launch.pk}/retry/")
        assert answer.status_code == 403
        assert "Only who opened this" in text_of(answer)

    assert Launch.objects.count() == 2


def test_launch_of_others_is_opened_by_auditors_alone(staff, alice):
    """To those who may only look, it does not say of whom it is."""
    archives = [make_dimse_archive()]
    launches = [make_launch(archives, user=one).launch for one in (alice, None)]

    for launch in launches:
        answer = staff.post(f"/launch/{launch.pk}/retry/")
        assert answer.status_code == 403
        assert "Only who opened this" in text_of(answer)
        assert "/retry/" not in staff.get(f"/launch/{launch.pk}/").content.decode()
    assert Launch.objects.count() == 2

    may = Permission.objects.filter(codename="audit_launch")
    User.objects.get(username="staff").user_permissions.add(*may)
    for launch in launches:
        assert staff.post(f"/launch/{launch.pk}/retry/").status_code == 302


def test_uploaded_manifest_that_was_revoked_is_not_opened_again(client, alice):
    template = LaunchTemplate.objects.default()
    started = services.start_uploaded("<manifest/>", template=template, user=alice)
    started.launch.revoke()

    answer = client.post(f"/launch/{started.launch.pk}/retry/")

    assert answer.status_code == 403
    assert "was revoked" in text_of(answer)
    assert Launch.objects.count() == 1


def test_page_of_a_launch_names_the_patient_to_its_own_user_alone(client, staff, alice):
    launch = make_launch([make_dimse_archive()], user=alice).launch
    launch.build.label = "Lindqvist, CT"
    launch.build.save()
    paths = [f"/launch/{launch.pk}/", f"/launch/{launch.pk}/state/"]

    assert "Lindqvist" in text_of(client.get(paths[0]))
    for path in paths:
        answer = staff.get(path)
        assert answer.status_code == 200
        assert "Lindqvist" not in text_of(answer)


def test_button_answers_with_progress_and_the_address_for_weasis(client, alice):
    make_dimse_archive()

    answer = opened(client, study_instance_uid="1.2.3", archive="main")

    launch = Launch.objects.get()
    html = answer.content.decode()
    assert launch.user == alice
    assert launch.origin == Launch.Origin.PORTAL
    assert launch.build.get_selection() == Selection(study_instance_uids=("1.2.3",))
    assert 'data-weasis="weasis://?' in html
    assert f'hx-get="/launch/{launch.pk}/state/"' in html
    assert re.search('hx-trigger="every (300ms|1s)"', html)  # 1s if the machine is busy
    assert "Opening…" in text_of(answer)


def test_button_without_javascript_redirects_to_weasis(client):
    make_dimse_archive()

    answer = opened(client, study_instance_uid="1.2.3", archive="main", headers=None)

    assert answer.status_code == 302
    assert answer["Location"].startswith("weasis://?")


def test_series_are_opened_without_the_rest_of_their_study(client):
    make_dimse_archive()

    opened(
        client, study_instance_uid="1.2", series_instance_uid="1.2.3", archive="main"
    )

    wanted = SeriesIdentifier(series_instance_uid="1.2.3", study_instance_uid="1.2")
    assert Build.objects.get().get_selection() == Selection(series=(wanted,))


def test_template_is_the_chosen_one_or_the_default(client):
    make_dimse_archive()
    other = LaunchTemplate.objects.create(name="Other", slug="other")

    opened(client, study_instance_uid="1.2.3", template="other")
    opened(client, study_instance_uid="1.2.4")

    templates = {launch.template for launch in Launch.objects.all()}
    assert templates == {other, LaunchTemplate.objects.default()}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "Choose at least one study."),
        ({"study_instance_uid": "1.2.x"}, "no valid UID"),
        ({"study_instance_uid": "1" * 65}, "no valid UID"),
        ({"study_instance_uid": "1.2.3\r\n"}, "no valid UID"),
        (
            {"study_instance_uid": ["1.2", "1.3"], "series_instance_uid": "1.2.1"},
            "Open series of one study at a time.",
        ),
        ({"study_instance_uid": [f"1.{n}" for n in range(501)]}, "Choose fewer"),
        ({"study_instance_uid": "1.2", "archive": "unknown"}, "not available to you"),
    ],
)
def test_bad_launches_are_refused_in_words_and_store_nothing(client, fields, problem):
    make_dimse_archive()

    by_htmx = opened(client, **fields)
    by_form = opened(client, headers=None, **fields)

    assert by_htmx.status_code == 422
    assert by_form.status_code == 400
    assert problem in text_of(by_htmx)
    assert problem in text_of(by_form)
    assert not Launch.objects.exists()


def test_archive_without_right_can_not_be_opened(client):
    archive = make_dimse_archive()
    archive.groups.add(Group.objects.create(name="Others"))

    answer = opened(client, study_instance_uid="1.2.3", archive="main")

    assert "not available to you" in text_of(answer)
    assert not Launch.objects.exists()


def test_launch_needs_csrf_token(alice):
    make_dimse_archive()
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)

    answer = opened(client, study_instance_uid="1.2.3")

    assert answer.status_code == 403
    assert "The page was open too long" in text_of(answer)


def test_launch_by_get_is_refused(client):
    assert client.get(CREATE).status_code == 405


def test_launch_with_an_expired_session_goes_to_the_login():
    page = "http://testserver/search/r/abc/"

    by_htmx = Client().post(CREATE, headers={**HTMX, "HX-Current-URL": page})
    by_form = Client().post(CREATE, headers={"Referer": page})

    assert by_htmx["HX-Redirect"] == "/accounts/login/?next=/search/r/abc/"
    assert by_form["Location"] == "/accounts/login/?next=/search/r/abc/"


def test_unreachable_queue_is_told_and_nothing_is_stored(client, valkey):
    make_dimse_archive()
    if valkey.process is None:
        pytest.skip("the Redis server was given, not started by the tests")
    session = client.session  # in the database; the searches are gone with Redis
    valkey.stop()
    try:
        answer = opened(client, study_instance_uid="1.2.3", archive="main")
    finally:
        valkey.start()

    assert session.session_key
    assert answer.status_code == 422
    assert "queue is not reachable" in text_of(answer)
    assert "Try again" in text_of(answer)
    assert not Launch.objects.exists()


def test_launch_joins_a_build_and_queues_it_once_more(launch, alice, valkey):
    """The message of the first may be lost; another one is harmless."""
    before = queued(valkey)

    joined = again(launch, alice).launch

    assert joined.build_id == launch.build_id
    assert queued(valkey) == before + 1


def test_launch_that_can_not_be_queued_takes_no_other_with_it(launch, alice, valkey):
    if valkey.process is None:
        pytest.skip("the Redis server was given, not started by the tests")
    valkey.stop()
    try:
        with pytest.raises(services.QueueUnavailableError):
            again(launch, alice)
    finally:
        valkey.start()

    assert [one.pk for one in Launch.objects.all()] == [launch.pk]
    build_manifest(str(launch.build_id))
    launch.refresh_from_db()
    assert launch.state == Launch.State.READY


def again(launch, user):
    """Another launch of the same."""
    archives = list(launch.build.archives.all())
    return make_launch(archives, user=user, selection=launch.build.get_selection())


def queued(valkey):
    with redis.Redis.from_url(valkey.url) as connection:
        return connection.llen("viewerhub")


# Several studies


def found(client, text):
    results = client.post(reverse("launcher:search_create"), {"quick": text})[
        "Location"
    ]
    for archive in Archive.objects.all():
        client.get(f"{results}archives/{archive.slug}/", headers=HTMX)
    return results.split("/")[3]


def test_several_studies_are_one_launch_of_the_archives_that_hold_them(
    client, served, dicom_files
):
    make_dimse_archive(served)
    make_dimse_archive(slug="down", name="Down", position=9)
    search = found(client, "lindqvist")
    uids = [dicom_files.study(key).study_instance_uid for key in ("ct", "cr")]

    answer = opened(client, study_instance_uid=uids, search=search)

    assert answer.status_code == 200
    build = Build.objects.get()
    assert build.get_selection().study_instance_uids == tuple(uids)
    assert [archive.slug for archive in build.archives.all()] == ["main"]


def test_several_patients_are_opened_only_when_confirmed(client, served, dicom_files):
    make_dimse_archive(served)
    search = found(client, "DEMO-1")
    client.get("/")
    stored = client.post(reverse("launcher:search_create"), {"patient_id": "DEMO*"})[
        "Location"
    ]
    client.get(f"{stored}archives/main/", headers=HTMX)
    search = stored.split("/")[3]
    uids = [dicom_files.study(key).study_instance_uid for key in ("ct", "mr")]

    question = opened(client, study_instance_uid=uids, search=search)
    assert "Studies of 2 patients" in text_of(question)
    assert "Dr. Astrid Maria, PhD DEMO-1 · HOSPITAL-A" in text_of(question)
    assert f'href="/search/r/{search}/"' in question.content.decode()
    assert not Launch.objects.exists()

    opened(client, study_instance_uid=uids, search=search, several_patients="yes")
    assert Launch.objects.count() == 1


def test_studies_are_opened_by_their_keys_in_the_search(client, served, dicom_files):
    make_dimse_archive(served)
    search = found(client, "lindqvist")
    uids = [dicom_files.study(key).study_instance_uid for key in ("ct", "cr")]
    stored = search_store.load(search, User.objects.get(username="alice").pk)
    keys = [search_store.key_of(stored, uid) for uid in uids]

    opened(client, study=keys, search=search)

    assert Build.objects.get().get_selection().study_instance_uids == tuple(uids)


def test_keys_of_another_search_open_nothing(client, served, dicom_files):
    make_dimse_archive(served)
    search = found(client, "lindqvist")
    uid = dicom_files.study("ct").study_instance_uid
    stored = search_store.load(search, User.objects.get(username="alice").pk)
    keys = [search_store.key_of(stored, uid), "0" * 20]

    for values in ({"study": keys}, {"study": keys[0]}):
        other = search if len(values["study"]) == 2 else "elsewhere"
        answer = opened(client, search=other, **values)
        assert answer.status_code == 422
        assert "This search has ended" in text_of(answer)
    assert not Launch.objects.exists()


# Progress


@pytest.fixture
def launch(served, alice, dicom_files):
    """Queued; ``build_manifest`` builds it."""
    archive = make_dimse_archive(served)
    uid = dicom_files.study("ct").study_instance_uid
    selection = Selection(study_instance_uids=(uid,))
    return make_launch([archive], user=alice, selection=selection).launch


def test_progress_follows_a_launch_until_weasis_has_it(client, launch):
    queued = state(client, launch)
    assert queued.status_code == 200
    assert "Opening…" in text_of(queued)

    build_manifest(str(launch.build_id))
    ready = state(client, launch)
    assert ready.status_code == 200
    assert "Ready · 37 images" in text_of(ready)
    assert "hx-trigger" in ready.content.decode()
    assert "data-help" not in ready.content.decode()

    Launch.objects.update(state=Launch.State.FETCHED, fetched=timezone.now())
    fetched = state(client, launch)
    assert fetched.status_code == 286
    assert re.search(r"Opened \d\d:\d\d", text_of(fetched))
    assert "hx-trigger" not in fetched.content.decode()


def make_ready(launch, *, seconds_ago):
    build_manifest(str(launch.build_id))
    finished = timezone.now() - timedelta(seconds=seconds_ago)
    Build.objects.update(finished=finished)
    Launch.objects.update(created=finished - timedelta(seconds=90))


def test_help_is_offered_when_weasis_does_not_come(client, launch):
    make_ready(launch, seconds_ago=7)

    answer = state(client, launch)

    assert "data-help" in answer.content.decode()
    assert "Weasis has not asked for the images yet" in text_of(answer)


def test_slow_build_is_no_reason_for_help(client, launch):
    make_ready(launch, seconds_ago=1)

    assert "data-help" not in state(client, launch).content.decode()


@pytest.mark.parametrize(
    ("seconds", "interval"),
    [(-60, "300ms"), (7, "1s"), (45, "3s"), (200, "15s")],
)
def test_state_is_asked_for_more_seldom_the_longer_it_takes(
    client, launch, seconds, interval
):
    make_ready(launch, seconds_ago=seconds)

    html = state(client, launch).content.decode()

    assert f'hx-trigger="every {interval}"' in html


def test_help_goes_when_weasis_comes_late(client, launch):
    make_ready(launch, seconds_ago=200)
    waiting = state(client, launch)
    assert waiting.status_code == 200
    assert 'hx-trigger="every 15s"' in waiting.content.decode()

    Launch.objects.update(state=Launch.State.FETCHED, fetched=timezone.now())

    assert "data-help" not in state(client, launch).content.decode()


def test_progress_is_given_up_after_a_while(client, launch):
    make_ready(launch, seconds_ago=660)

    assert state(client, launch).status_code == 286


def test_weasis_that_asks_by_itself_is_not_missed(client, alice):
    """Straight from the archive: whether it has started, the hub never hears."""
    template = LaunchTemplate.objects.create(
        name="RS", slug="rs", mode=LaunchTemplate.Mode.DICOM_RS
    )
    archive = make_dicomweb_archive(
        "https://pacs.example.org/rs", images=Archive.Images.DIRECT
    )
    started = make_launch([archive], user=alice, template=template)
    assert "%2Fm%2F" not in started.uri
    Build.objects.update(state=Build.State.READY, finished=timezone.now())
    Launch.objects.update(state=Launch.State.READY)

    answer = state(client, started.launch)

    assert answer.status_code == 286
    assert "the hub does not hear whether it started" in text_of(answer)
    assert "has not asked" not in text_of(answer)


def test_launch_of_several_studies_says_so(client, launch):
    make_ready(launch, seconds_ago=0)
    Build.objects.update(studies=3, instances=40)

    assert "Ready · 3 studies · 40 images" in text_of(state(client, launch))
    for path in ("/", "/launches/"):
        assert "and 2 more studies" in text_of(client.get(path))


def test_large_counts_are_readable(client, launch):
    make_ready(launch, seconds_ago=0)
    Build.objects.update(instances=1204)

    assert "Ready · 1,204 images" in text_of(state(client, launch))


@pytest.mark.parametrize(
    ("user_agent", "first"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/140.0", "Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1", "macOS"),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0", "Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)", "Windows"),
        ("", "Windows"),
    ],
)
def test_installer_for_the_visitors_system_comes_first(client, user_agent, first):
    make_dimse_archive()

    answer = opened(
        client,
        study_instance_uid="1.2.3",
        headers={**HTMX, "User-Agent": user_agent},
    )

    names = re.findall(
        r'href="https://weasis.org/en/getting-started/\w+/"[^>]*>(\w+)<',
        answer.content.decode(),
    )
    assert names[0] == first
    assert set(names) == {"Windows", "macOS", "Linux"}


def test_other_viewer_is_one_button_away(client, alice):
    make_dimse_archive()
    viewer = Viewer.objects.create(
        name="Web", slug="web", url_template="https://web.example/?s={study_uids}"
    )
    LaunchTemplate.objects.create(name="Web", slug="web", viewer=viewer)
    answer = opened(client, study_instance_uid="1.2.3", archive="main")
    launch = Launch.objects.get()
    assert "Open in Web instead" in text_of(answer)
    assert "Open in Web instead" in text_of(client.get(launch.get_absolute_url()))

    instead = client.post(
        f"/launch/{launch.pk}/retry/", {"template": "web"}, headers=HTMX
    )

    assert instead["HX-Redirect"] == "https://web.example/?s=1.2.3"
    unknown = client.post(f"/launch/{launch.pk}/retry/", {"template": "a\0"})
    assert unknown.status_code == 400
    Viewer.objects.update(is_enabled=False)
    answer = opened(client, study_instance_uid="1.2.3", archive="main")
    assert "instead" not in text_of(answer)


def test_problem_of_a_launch_again_is_tried_again_itself(client, launch):
    Viewer.objects.create(
        name="Off", slug="off", url_template="https://o/?s={study_uids}"
    )
    Viewer.objects.update(is_enabled=False)
    LaunchTemplate.objects.create(name="Off", slug="off", viewer=Viewer.objects.get())
    path = f"/launch/{launch.pk}/retry/"

    answer = client.post(path, {"template": "off"}, headers=HTMX)

    assert answer.status_code == 422
    assert f'hx-post="{path}"' in answer.content.decode()


# Revoking


def test_own_launch_is_revoked_when_confirmed(client, launch):
    path = f"/launch/{launch.pk}/revoke/"
    question = client.get(path)
    assert "Images already on a workstation stay there" in text_of(question)
    launch.refresh_from_db()
    assert launch.state == Launch.State.PENDING

    answer = client.post(path, follow=True)

    launch.refresh_from_db()
    assert launch.state == Launch.State.REVOKED
    assert "Its links open nothing any more" in text_of(answer)
    assert path not in answer.content.decode()
    assert "had ended already" in text_of(client.post(path, follow=True))


def test_who_may_only_look_does_not_revoke(launch, staff):
    path = f"/launch/{launch.pk}/revoke/"

    assert path not in staff.get(f"/launch/{launch.pk}/").content.decode()
    assert staff.get(path).status_code == 403
    assert staff.post(path).status_code == 403
    User.objects.get(username="staff").user_permissions.add(
        Permission.objects.get(codename="change_launch")
    )
    assert staff.post(path).status_code == 302
    launch.refresh_from_db()
    assert launch.state == Launch.State.REVOKED


def test_revoking_needs_csrf_token(launch, alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)

    assert client.post(f"/launch/{launch.pk}/revoke/").status_code == 403


def test_recent_launches_are_filtered_by_state(client, launch, alice, monkeypatch):
    again(launch, alice)
    third = again(launch, alice).launch
    Launch.objects.filter(pk=third.pk).update(state=Launch.State.FETCHED)
    monkeypatch.setattr(launch_pages, "LAUNCHES_PER_PAGE", 1)

    page = client.get("/launches/?state=pending")

    assert "All 3 Queued 2 Opened 1" in text_of(page)
    assert len(re.findall('class="launch-item"', page.content.decode())) == 1
    assert "?state=pending&amp;page=2" in page.content.decode()
    nothing = client.get("/launches/?state=expired")
    assert "No launch is in this state" in text_of(nothing)
    assert "All 3" in text_of(client.get("/launches/?state=nonsense"))


def test_failure_names_the_archive_and_offers_to_retry(client, alice):
    launch = make_launch([make_dimse_archive()], user=alice).launch
    build_manifest(str(launch.build_id))

    answer = state(client, launch)

    assert answer.status_code == 286
    assert "Main PACS is not answering" in text_of(answer)
    assert f'hx-post="/launch/{launch.pk}/retry/"' in answer.content.decode()


def test_partial_failure_is_told_beside_what_is_ready(client, launch):
    build_manifest(str(launch.build_id))
    old = make_dimse_archive(slug="old", name="Old archive")
    ArchiveOutcome.objects.create(
        build=launch.build, archive=old, state=ArchiveOutcome.State.REFUSED
    )

    text = text_of(state(client, launch))

    assert "Ready · 37 images" in text
    assert "Old archive refused the connection" in text


def test_page_of_a_launch_has_the_answer_of_each_archive(client, launch):
    build_manifest(str(launch.build_id))

    page = client.get(launch.get_absolute_url())

    assert "Main PACS complete" in text_of(page)
    assert "1 study · 6 series · 37 images" in text_of(page)
    assert "Weasis has to be installed" in text_of(page)
    assert "<title>Launch · ViewerHub</title>" in page.content.decode()
    assert page["Cache-Control"] == "private, no-store"


def test_retry_is_a_new_launch_of_the_same_selection(client, launch):
    answer = client.post(f"/launch/{launch.pk}/retry/")

    assert answer.status_code == 302
    assert answer["Location"].startswith("weasis://?")
    first, second = Launch.objects.order_by("created")
    assert first.build.get_selection() == second.build.get_selection()
    assert first.manifest_token_sha256 != second.manifest_token_sha256


def test_retry_needs_the_right_to_an_archive(client, launch):
    Archive.objects.get().groups.add(Group.objects.create(name="Others"))

    answer = client.post(f"/launch/{launch.pk}/retry/")

    assert answer.status_code == 403
    assert Launch.objects.count() == 1


@pytest.mark.parametrize("path", ["", "state/", "retry/", "revoke/"])
def test_launches_of_others_do_not_exist(launch, path):
    bob = Client()
    bob.force_login(User.objects.create_user("bob"))
    method = bob.post if path == "retry/" else bob.get

    assert method(f"/launch/{launch.pk}/{path}").status_code == 404


def test_recent_launches_are_the_users_own(client, launch):
    build_manifest(str(launch.build_id))
    bob = Client()
    bob.force_login(User.objects.create_user("bob"))

    mine, start = client.get("/launches/"), client.get("/")

    for page in (mine, start):
        assert "Lindqvist" in text_of(page)
        assert "Ready" in text_of(page)
        assert "Open again" in text_of(page)
    assert "37 images · 6 series" in text_of(mine)
    assert "Nothing opened yet" in text_of(bob.get("/launches/"))
