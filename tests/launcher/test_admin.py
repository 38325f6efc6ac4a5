"""The administration of templates, launches and API clients."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from launcher.models import ApiClient, ArchiveOutcome, Build, Launch, LaunchTemplate
from tests.factories import make_api_client, make_dicomweb_archive, make_dimse_archive

pytestmark = pytest.mark.django_db

TEMPLATES = "/admin/launcher/launchtemplate/"
LAUNCHES = "/admin/launcher/launch/"
CLIENTS = "/admin/launcher/apiclient/"
TEMPLATE = {
    "name": "Ward",
    "slug": "ward",
    "mode": "manifest",
    "retrieval": "auto",
    "policy": "auto",
    "date_meaning": "ihe",
}
CLIENT = {
    "name": "RIS",
    "is_enabled": "on",
    "scopes": ["launch", "search"],
    "encryption": "none",
}
PATIENT = "MARTIN"


def text(response):
    return response.content.decode()


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def errors_of(response):
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


def change_url(row):
    return reverse(f"admin:launcher_{row._meta.model_name}_change", args=[row.pk])


def action_url(row, name):
    return reverse(f"admin:launcher_{row._meta.model_name}_{name}", args=[row.pk])


def staff(*permissions):
    user = User.objects.create(username="-".join(permissions), is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


# Templates


def test_template_becomes_the_default_by_its_box(admin_client):
    former = LaunchTemplate.objects.default()

    response = admin_client.post(
        f"{TEMPLATES}add/", TEMPLATE | {"becomes_default": "on"}
    )

    assert response.status_code == 302
    assert LaunchTemplate.objects.default().slug == "ward"
    former.refresh_from_db()
    assert not former.is_default


def test_template_that_is_the_default_can_only_be_followed_by_another(admin_client):
    default = LaunchTemplate.objects.default()
    page = admin_client.get(change_url(default))
    assert "becomes_default" not in text(page)

    admin_client.post(change_url(default), TEMPLATE | {"name": "Renamed"})

    default.refresh_from_db()
    assert (default.name, default.is_default) == ("Renamed", True)


def test_default_template_can_not_be_deleted(admin_client):
    default = LaunchTemplate.objects.default()
    other = LaunchTemplate.objects.create(**TEMPLATE)
    assert admin_client.post(f"{TEMPLATES}{default.pk}/delete/").status_code == 403

    delete = {
        "action": "delete_selected",
        "_selected_action": [default.pk, other.pk],
        "post": "yes",
    }
    response = admin_client.post(TEMPLATES, delete)

    assert "make another template the default first" in text(response)
    assert LaunchTemplate.objects.count() == 2
    delete["_selected_action"] = [other.pk]
    admin_client.post(TEMPLATES, delete)
    assert list(LaunchTemplate.objects.all()) == [default]


def test_template_error_names_field_and_line(admin_client):
    before = LaunchTemplate.objects.count()

    response = admin_client.post(
        f"{TEMPLATES}add/", TEMPLATE | {"commands": "$weasis:ui -v\noops"}
    )

    errors = errors_of(response)
    assert list(errors) == ["commands"]
    assert "Line 2" in errors["commands"][0]
    assert LaunchTemplate.objects.count() == before


def test_template_page_shows_the_commands_weasis_reads(admin_client, settings):
    settings.VIEWERHUB_PUBLIC_URL = "https://hub.example.org"
    template = LaunchTemplate.objects.create(
        **TEMPLATE, commands="$dicom:close --all", properties="weasis.profile ward"
    )

    response = admin_client.get(change_url(template))

    commands = re.findall(r"<li>\s*<code>(.*?)</code>", text(response))
    assert commands == [
        "$dicom:close --all",
        f"$dicom:get -w &quot;https://hub.example.org/m/{'0' * 43}&quot;",
        "$weasis:config pro=&quot;weasis.profile ward&quot;",
    ]
    [length] = re.findall(r"(\d+) of at most 1,800 characters", text(response))
    [uri] = re.findall(r"<code>(weasis://.*?)</code>", text(response))
    assert len(uri) == int(length)


def test_template_that_is_added_has_a_preview_from_the_start(admin_client):
    assert "$dicom:get -w" in text(admin_client.get(f"{TEMPLATES}add/"))


@pytest.mark.parametrize("headers", [{}, {"X-Requested-With": "fetch"}])
def test_preview_shows_what_is_not_saved(admin_client, headers):
    before = LaunchTemplate.objects.count()
    form = TEMPLATE | {"commands": "$weasis:ui -v", "name": ""}

    response = admin_client.post(f"{TEMPLATES}preview/", form, headers=headers)

    assert "<code>$weasis:ui -v</code>" in text(response)
    assert ("<html" in text(response)) is not bool(headers)
    assert LaunchTemplate.objects.count() == before


def test_preview_says_what_is_wrong(admin_client):
    form = TEMPLATE | {"commands": "oops", "wcfg": "nowhere"}

    response = admin_client.post(f"{TEMPLATES}preview/", form)

    assert "Commands: Line 1: a command begins with $" in text(response)
    assert "Wcfg: Enter a full address" in text(response)
    assert "weasis://" not in text(response)


def test_preview_of_dicom_rs_follows_the_archives_chosen(admin_client):
    direct = make_dicomweb_archive("https://pacs.example.org/rs", images="direct")
    dimse = make_dimse_archive()
    form = TEMPLATE | {"mode": "dicom_rs"}

    chosen = admin_client.post(f"{TEMPLATES}preview/", form | {"archives": [direct.pk]})
    everything = admin_client.post(f"{TEMPLATES}preview/", form)
    neither = admin_client.post(f"{TEMPLATES}preview/", form | {"archives": [dimse.pk]})

    assert "$dicom:rs --url" in text(chosen)
    for response in (everything, neither):
        assert "$dicom:get -w" in text(response)
        assert "Weasis gets a manifest" in text(response)


@pytest.mark.parametrize("is_chosen", [True, False])
def test_preview_has_no_archive_the_user_may_not_use(is_chosen):
    closed = make_dicomweb_archive("https://closed.example.org/rs", images="direct")
    group = Group.objects.create(name="Others")
    form = TEMPLATE | {"mode": "dicom_rs"}
    if is_chosen:
        form["archives"] = [closed.pk]
    reader = staff("view_launchtemplate")
    assert "closed.example.org" in text(reader.post(f"{TEMPLATES}preview/", form))

    closed.groups.add(group)

    assert "closed.example.org" not in text(reader.post(f"{TEMPLATES}preview/", form))


def test_preview_needs_the_right_and_a_form(admin_client):
    url = f"{TEMPLATES}preview/"

    assert staff("view_launch").post(url, TEMPLATE).status_code == 403
    assert staff("view_launchtemplate").post(url, TEMPLATE).status_code == 200
    assert admin_client.get(url).status_code == 405


# Launches


@pytest.fixture
def launch(django_user_model):
    """A launch of Alice's that found a part of what it asked for."""
    now = timezone.now()
    build = Build.objects.create(
        selection={"patients": [{"patient_id": PATIENT}]},
        label=f"{PATIENT}, Alice",
        state="ready",
        instances=45,
        started=now - timedelta(seconds=2.5),
        finished=now,
    )
    for archive, state, instances in (
        (make_dimse_archive(), "ok", 45),
        (make_dimse_archive(name="Old PACS", slug="old"), "unavailable", 0),
    ):
        ArchiveOutcome.objects.create(
            build=build,
            archive=archive,
            state=state,
            instances=instances,
            message="" if state == "ok" else "Old PACS did not answer.",
        )
    launch = Launch(
        build=build,
        template=LaunchTemplate.objects.default(),
        user=django_user_model.objects.create(username="alice"),
        origin="portal",
        state="ready",
    )
    launch.token = launch.issue_token()
    launch.save()
    return launch


def test_launches_are_listed_with_their_outcomes(admin_client, launch):
    page = text(admin_client.get(LAUNCHES))

    for expected in ("alice", "Search page", "Ready", "Main PACS: Complete", "2.5 s"):
        assert expected in page
    assert "Old PACS: Not answering" in page
    assert ">45<" in page


@pytest.mark.parametrize(
    ("milliseconds", "words"), [(16, "16 ms"), (999, "999 ms"), (1000, "1.0 s")]
)
def test_durations_below_a_second_are_in_milliseconds(
    admin_client, launch, milliseconds, words
):
    build = launch.build
    build.started = build.finished - timedelta(milliseconds=milliseconds)
    build.save()
    build.outcomes.update(milliseconds=milliseconds)

    assert f">{words}<" in text(admin_client.get(LAUNCHES))
    # Of the build, and of each of two archives.
    assert text(admin_client.get(change_url(launch))).count(words) == 3


def test_launch_page_shows_what_each_archive_answered(admin_client, launch):
    page = text(admin_client.get(change_url(launch)))

    assert "Old PACS did not answer." in page
    assert str(launch.pk) in page


def test_launches_show_neither_patients_nor_tokens(launch):
    reader = staff("view_launch")
    for url in (LAUNCHES, change_url(launch)):
        page = text(reader.get(url))
        assert PATIENT not in page
        for hidden in (
            launch.token,
            launch.manifest_token_sha256,
            launch.image_token_sha256,
        ):
            assert hidden not in page


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("state__exact=ready", True),
        ("state__exact=failed", False),
        ("origin__exact=api", False),
        ("outcome=unavailable", True),
        ("outcome=refused", False),
        ("q=alice", True),
        (f"q={PATIENT}", False),
        ("q=1CT1", False),
    ],
)
def test_launches_are_filtered_and_searched(admin_client, launch, query, is_found):
    response = admin_client.get(f"{LAUNCHES}?{query}")

    assert response.status_code == 200
    assert list(response.context["cl"].queryset) == ([launch] if is_found else [])


def test_launch_is_found_by_its_identifier(admin_client, launch):
    response = admin_client.get(f"{LAUNCHES}?q={launch.pk}")

    assert list(response.context["cl"].queryset) == [launch]


def test_launches_can_not_be_changed(admin_client, launch):
    assert admin_client.get(f"{LAUNCHES}add/").status_code == 403
    assert admin_client.post(f"{change_url(launch)[:-7]}delete/").status_code == 403
    assert admin_client.post(change_url(launch), {"state": "failed"}).status_code == 403
    assert 'name="_save"' not in text(admin_client.get(change_url(launch)))


def test_launches_are_revoked_from_the_list(admin_client, launch):
    action = {"action": "revoke", "_selected_action": [launch.pk]}

    response = admin_client.post(LAUNCHES, action, follow=True)

    launch.refresh_from_db()
    assert launch.state == "revoked"
    assert "Revoked 1 launch." in messages_of(response)[0]


def test_launch_is_revoked_from_its_page(admin_client, launch):
    url = action_url(launch, "revoke")
    assert url in text(admin_client.get(change_url(launch)))
    assert admin_client.get(url).status_code == 405

    first = admin_client.post(url, follow=True)
    second = admin_client.post(url, follow=True)

    launch.refresh_from_db()
    assert launch.state == "revoked"
    assert "can't be opened any more" in messages_of(first)[0]
    assert "had ended already" in messages_of(second)[0]
    assert url not in text(second)


def test_revoking_needs_its_right(launch):
    viewer, revoker = staff("view_launch"), staff("change_launch")
    url = action_url(launch, "revoke")
    assert viewer.get(change_url(launch)).status_code == 200
    assert url not in text(viewer.get(change_url(launch)))
    assert viewer.post(url).status_code == 403
    viewer.post(LAUNCHES, {"action": "revoke", "_selected_action": [launch.pk]})
    launch.refresh_from_db()
    assert launch.state == "ready"

    assert revoker.post(url).status_code == 302

    launch.refresh_from_db()
    assert launch.state == "revoked"


# API clients


def key_in(response):
    [key] = re.findall(r'<code id="key">(.*?)</code>', text(response))
    return key


def test_key_is_shown_once_after_creation(admin_client):
    archive = make_dimse_archive()

    response = admin_client.post(f"{CLIENTS}add/", CLIENT | {"archives": [archive.pk]})

    key = key_in(response)
    client = ApiClient.objects.authenticate(key)
    assert client
    assert client.scopes == ["launch", "search"]
    assert list(client.archives.all()) == [archive]
    assert "no-store" in response["Cache-Control"]
    assert not any(key in cookie.value for cookie in response.cookies.values())
    for url in (change_url(client), CLIENTS):
        assert key not in text(admin_client.get(url))
    assert key not in str(ApiClient.objects.values().get())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes"),
        ({"name": ""}, "name"),
    ],
)
def test_client_error_names_its_field(admin_client, changes, field):
    response = admin_client.post(f"{CLIENTS}add/", CLIENT | changes)

    assert list(errors_of(response)) == [field]
    assert not ApiClient.objects.exists()


def test_changing_a_client_keeps_its_key(admin_client):
    client, key = make_api_client()

    response = admin_client.post(change_url(client), CLIENT | {"scopes": ["archives"]})

    assert response.status_code == 302
    assert ApiClient.objects.authenticate(key).scopes == ["archives"]


def test_new_key_replaces_the_old_one(admin_client):
    client, key = make_api_client()
    url = action_url(client, "new_key")
    assert admin_client.get(url).status_code == 405

    response = admin_client.post(url)

    assert ApiClient.objects.authenticate(key) is None
    assert ApiClient.objects.authenticate(key_in(response)) == client
    assert "Issued a new key" in text(
        admin_client.get(f"{CLIENTS}{client.pk}/history/")
    )


def test_new_key_needs_the_right_to_change():
    client, key = make_api_client()
    viewer = staff("view_apiclient")
    page = viewer.get(change_url(client))
    assert "launch, search, archives" in text(page)
    assert "Issue a new key" not in text(page)

    assert viewer.post(action_url(client, "new_key")).status_code == 403

    assert ApiClient.objects.authenticate(key) == client


def test_clients_are_listed_with_their_state(admin_client):
    make_api_client(name="A")
    make_api_client(name="B", is_enabled=False)
    make_api_client(name="C", expires=timezone.now() - timedelta(days=1))

    page = text(admin_client.get(CLIENTS))

    for state in ("Active", "Disabled", "Expired"):
        assert f"</span> {state}</span>" in page


@pytest.mark.parametrize(
    ("page", "field", "label"),
    [
        ("launchtemplate", "viewer", "Weasis"),
        ("viewerrule", "archive", "Any"),
        ("viewerrule", "group", "Anybody"),
    ],
)
def test_list_says_what_it_means_to_choose_nothing(admin_client, page, field, label):
    response = admin_client.get(f"/admin/launcher/{page}/add/")

    [first, *_] = response.context["adminform"].form.fields[field].choices
    assert first == ("", label)
