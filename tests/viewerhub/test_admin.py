"""The admin as a whole: its policy, its menu, its users, and life without Unfold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from archives.models import SECRET_FIELDS, Archive
from launcher.models import Launch
from tests.factories import make_dimse_archive

pytestmark = pytest.mark.django_db
# Those in which an administrator enters something.
OWN_MODELS = [
    model
    for model in sorted(site._registry, key=str)
    if model._meta.app_label in {"archives", "launcher"} and model is not Launch
]

ROOT = Path(__file__).resolve().parents[2]


def text(response):
    return response.content.decode()


def policy_of(response):
    header = response["Content-Security-Policy"]
    parts = (directive.split() for directive in header.split(";"))
    return {name: set(sources) for name, *sources in parts}


def test_admin_has_a_policy_of_its_own_without_any_other_source(admin_client):
    policy = policy_of(admin_client.get("/admin/"))

    assert policy["script-src"] == {"'self'", "'unsafe-eval'"}
    assert policy["frame-ancestors"] == {"'none'"}
    for name, sources in policy.items():
        assert not {source for source in sources if "://" in source or source == "*"}, (
            name
        )


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("/admin/launcher/launchtemplate/preview-launch/", "Preview a launch"),
        ("/admin/launcher/launchtemplate/url-builder/", "URL builder"),
        ("/admin/launcher/launchtemplate/add/", "Launch templates"),
        ("/admin/launcher/launch/", "Launches"),
    ],
)
def test_sidebar_marks_one_entry(admin_client, path, entry):
    request = admin_client.get(path).wsgi_request
    marked = [
        str(item["title"])
        for section in site.get_sidebar_list(request)
        for item in section["items"]
        if item["active"]
    ]
    assert marked == [entry]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("archives/archive/", ["Imaging", "Archives"]),
        ("archives/archive/add/", ["Imaging", "Archives", "Add archive"]),
        (
            "archives/archive/add/?protocol=dimse",
            ["Imaging", "Archives", "Add archive"],
        ),
        ("launcher/viewer/add/", ["Imaging", "Viewers", "Add viewer"]),
    ],
)
def test_breadcrumb_says_where_one_is(admin_client, path, parts):
    page = text(admin_client.get(f"/admin/{path}"))
    heading = re.search(r"<h1.*?</h1>", page, re.DOTALL)[0]
    words = re.sub(r"<[^>]*>", "\n", heading).split("\n")

    said = [word.strip() for word in words if word.strip()]
    assert [word for word in said if word != "chevron_right"] == parts


def test_policy_of_the_portal_stays_strict(client):
    policy = policy_of(client.get("/accounts/login/"))

    for sources in policy.values():
        assert not sources & {"'unsafe-eval'", "'unsafe-inline'"}


@pytest.mark.parametrize("model", sorted(site._registry, key=str), ids=str)
def test_admin_page_loads_nothing_from_elsewhere(admin_client, model):
    meta = model._meta
    base = f"/admin/{meta.app_label}/{meta.model_name}/"
    response = admin_client.get(base)

    assert response.status_code == 200
    addresses = re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', text(response))
    assert addresses
    assert all(
        address.startswith("/static/") or "jsi18n" in address for address in addresses
    )


@pytest.mark.parametrize("model", sorted(site._registry, key=str), ids=str)
def test_each_list_is_searched_and_filtered(admin_client, model):
    admin = site._registry[model]
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"

    assert admin.search_fields
    assert admin.list_filter
    assert len(admin.list_display) > 1
    assert admin_client.get(f"{base}?q=nothing-is-called-so").status_code == 200


def test_empty_list_says_whether_a_filter_hides_all(admin_client):
    address = "/admin/archives/archive/"

    empty = text(admin_client.get(f"{address}?q=nothing"))
    make_dimse_archive()
    filtered = text(admin_client.get(f"{address}?q=nothing"))

    assert "Nothing here yet" in empty
    assert "Reset filters" not in empty
    assert "Nothing matches what you searched and filtered for." in filtered
    assert '<a href="?"' in filtered


def test_groups_show_whom_and_what_they_are_for(admin_client):
    group = Group.objects.create(name="Radiology")
    Group.objects.create(name="Nobody")
    archive = make_dimse_archive()
    archive.groups.add(group)
    for name in ("anna", "bob"):
        User.objects.create(username=name).groups.add(group)
    User.objects.create(username="gone", is_active=False).groups.add(group)

    page = admin_client.get("/admin/auth/group/?archive=main")

    [row] = page.context["cl"].result_list
    assert (row.name, row.member_count) == ("Radiology", 2)
    assert "Main PACS" in text(page)
    assert "Radiology" in text(admin_client.get("/admin/auth/user/?q=anna"))


def test_what_staff_did_is_listed_and_stays(admin_client, admin_user):
    admin_client.post("/admin/auth/group/add/", {"name": "Radiology"})

    page = admin_client.get("/admin/admin/logentry/?q=Radiology")

    [entry] = page.context["cl"].result_list
    assert entry.user == admin_user
    base = f"/admin/admin/logentry/{entry.pk}"
    assert admin_client.get(f"{base}/change/").status_code == 200
    assert admin_client.post(f"{base}/delete/", {"post": "yes"}).status_code == 403


def forms_of(admin, request):
    """The forms of adding and changing, for each protocol where there are two."""
    protocols = Archive.Protocol.values if admin.model is Archive else [""]
    for protocol in protocols:
        request.GET = request.GET.copy()
        request.GET["protocol"] = protocol
        row = admin.model()
        for secret in SECRET_FIELDS if protocol else ():
            setattr(row, secret, "stored")
        yield admin.get_form(request, None)()
        yield admin.get_form(request, row, change=True)(instance=row)


@pytest.mark.parametrize("model", OWN_MODELS, ids=str)
def test_each_field_is_explained_in_full_sentences(rf, admin_user, model):
    request = rf.get("/")
    request.user = admin_user
    admin = site._registry[model]

    for form in forms_of(admin, request):
        for name, field in form.fields.items():
            text = str(field.help_text)
            assert text.endswith("."), f"{model.__name__}.{name}: {text!r}"
            assert text[0].isupper() or text[0] == "$", f"{model.__name__}.{name}"


def test_menu_lists_what_one_may_view():
    user = User.objects.create(username="it", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_archive"))
    client = Client()
    client.force_login(user)

    page = text(client.get("/admin/archives/archive/"))

    assert 'href="/admin/archives/archive/"' in page
    assert "/admin/auth/user/" not in page
    assert "/admin/launcher/apiclient/" not in page


def test_user_is_added_with_a_password(admin_client):
    response = admin_client.post(
        "/admin/auth/user/add/",
        {
            "username": "anna",
            "usable_password": "true",
            "password1": "a-long-passphrase",
            "password2": "a-long-passphrase",
        },
    )

    anna = User.objects.get(username="anna")
    assert response["Location"] == f"/admin/auth/user/{anna.pk}/change/"
    assert anna.check_password("a-long-passphrase")


def test_second_factor_is_removed_but_never_shown(admin_client, admin_user):
    factor = Authenticator.objects.create(
        user=admin_user, type="totp", data={"secret": "SECRET-SEED"}
    )
    base = f"/admin/mfa/authenticator/{factor.pk}"

    page = admin_client.get(f"{base}/change/")
    assert page.status_code == 200
    assert "SECRET-SEED" not in text(page)
    admin_client.post(f"{base}/delete/", {"post": "yes"})

    assert not Authenticator.objects.exists()


def test_nothing_of_identity_providers_is_in_the_admin():
    registered = {model._meta.app_label for model in site._registry}

    assert not registered & {"account", "socialaccount"}


@pytest.mark.skipif(
    not apps.is_installed("unfold"), reason="the run without Unfold starts no other"
)
def test_administration_works_without_unfold():
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "VIEWERHUB", "DATABASE_URL"))
    }
    tests = [
        "archives/test_admin.py",
        "launcher/test_admin.py",
        "launcher/test_admin_tools.py",
        "viewerhub/test_dashboard.py",
    ]

    run = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "tests.first_of_each"),  # other cases are the same page again
            "--ds=tests.settings_plain_admin",
            *(f"tests/{name}" for name in tests),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert run.returncode == 0, run.stdout[-4000:]
