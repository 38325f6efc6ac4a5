"""Which template a launch gets, and why."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import ValidationError

from archives.entities import Selection, Study
from launcher.criteria import CriteriaError
from launcher.launching import routing
from launcher.models import LaunchTemplate, Viewer, ViewerRule
from launcher.viewer_presets import PRESETS
from launcher.weasis import NotCarriableError
from tests.factories import make_dicomweb_archive, make_dimse_archive

pytestmark = pytest.mark.django_db


def make_template(name, **values):
    return LaunchTemplate.objects.create(
        name=name, slug=name.lower().replace(" ", "-"), **values
    )


def make_viewer(slug="ohif", **values):
    preset = next(preset for preset in PRESETS if preset.slug == slug)
    defaults = {
        "name": preset.name,
        "slug": slug,
        "url_template": preset.url_template,
        "maximum_studies": preset.limits.maximum_studies,
        "needs_one_archive": preset.limits.needs_one_archive,
        "needs_dicomweb": preset.limits.needs_dicomweb,
    }
    return Viewer.objects.create(**(defaults | values))


def make_rule(template, **values):
    values = {"name": template.name, "template": template} | values
    rule = ViewerRule(**values)
    rule.full_clean()
    rule.save()
    return rule


def choose(archives=(), user=None, **values):
    defaults = {"template": "", "viewer": "", "address": "10.1.2.3", "modalities": None}
    return routing.choose(archives=list(archives), user=user, **(defaults | values))


@pytest.fixture
def main():
    return make_dimse_archive()


@pytest.fixture
def web():
    return make_dicomweb_archive("https://pacs.example.org/rs")


# Explicit names


def test_template_that_is_named_wins():
    ward = make_template("Ward")
    make_rule(make_template("Rule"))

    route = choose(template="ward", viewer="weasis")

    assert route.template == ward
    assert "names this template" in route.why


@pytest.mark.parametrize("name", ["nobody", "a b", "\x00", "WARD"])
def test_unknown_names_are_refused(name):
    make_template("Ward")

    with pytest.raises(CriteriaError, match="no launch template"):
        choose(template=name)
    with pytest.raises(CriteriaError, match="no viewer") as error:
        choose(viewer=name)
    assert "Known are weasis." in str(error.value)


@pytest.mark.parametrize("name", ["ohif", "OHIF", "Ohif"])
def test_viewer_that_is_named_gets_its_first_template(name):
    viewer = make_viewer()
    make_template("Z", viewer=viewer)
    first = make_template("A", viewer=viewer)
    make_rule(make_template("Rule"))

    assert choose(viewer=name).template == first


def test_viewer_without_a_template_gets_a_plain_one():
    viewer = make_viewer()

    template = choose(viewer="ohif").template

    assert (template.pk, template.viewer) == (None, viewer)


@pytest.mark.parametrize("name", ["weasis", "WEASIS"])
def test_weasis_is_built_in(name):
    ohif = make_template("OHIF", viewer=make_viewer())
    LaunchTemplate.objects.make_default(ohif)

    template = choose(viewer=name).template

    assert template.viewer is None
    LaunchTemplate.objects.filter(viewer=None).delete()
    assert choose(viewer=name).template.viewer is None
    assert LaunchTemplate.objects.filter(viewer=None).count() == 1


def test_viewer_that_is_disabled_is_not_started():
    viewer = make_viewer(is_enabled=False)
    template = make_template("OHIF", viewer=viewer)
    make_rule(template)

    assert choose().template == LaunchTemplate.objects.default()
    with pytest.raises(CriteriaError, match="no viewer"):
        choose(viewer="ohif")
    with pytest.raises(CriteriaError, match="disabled"):
        choose(template="ohif")


# Rules


def test_default_template_is_for_launches_without_a_rule():
    route = choose()

    assert route.template == LaunchTemplate.objects.default()
    assert "default template" in route.why


def test_rules_are_tried_in_order():
    make_rule(make_template("Second"), position=2)
    make_rule(make_template("First"), position=1)
    make_rule(make_template("Disabled"), position=0, is_enabled=False)

    assert choose().template.name == "First"


@pytest.mark.parametrize(
    ("modalities", "name"),
    [
        (["MG"], "Breast"),
        (["CT", "US"], "Breast"),
        (["CT"], "Open in Weasis"),
        ([], "Open in Weasis"),
        (None, "Open in Weasis"),
    ],
)
def test_rule_is_for_any_of_its_modalities(main, modalities, name):
    make_rule(make_template("Breast"), modalities="mg US")

    assert choose([main], modalities=modalities).template.name == name


def test_rule_is_for_launches_that_ask_only_its_archive(main, web):
    make_rule(make_template("Main"), archive=main)

    assert choose([main]).template.name == "Main"
    assert choose([web]).template.name == "Open in Weasis"
    assert choose([main, web]).template.name == "Open in Weasis"


@pytest.mark.parametrize(
    ("address", "is_inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("192.168.1.1", True),
        ("192.168.1.2", False),
        ("", False),
    ],
)
def test_rule_is_for_its_networks(address, is_inside):
    make_rule(make_template("Ward"), networks="10.1.0.0/16, 192.168.1.1")

    assert (choose(address=address).template.name == "Ward") is is_inside


def test_rule_is_for_members_of_its_group():
    group = Group.objects.create(name="Research")
    member, other = (User.objects.create(username=name) for name in "ab")
    member.groups.add(group)
    make_rule(make_template("Slicer"), group=group)

    assert choose(user=member).template.name == "Slicer"
    for user in (other, None, AnonymousUser()):
        assert choose(user=user).template.name == "Open in Weasis"


def test_rule_is_passed_over_where_its_viewer_can_not_open_so_much(main, web):
    make_rule(make_template("OHIF", viewer=make_viewer()))

    assert choose([main]).template.name == "OHIF"
    assert choose([main, web]).template.name == "Open in Weasis"


def test_reason_names_the_rule_and_its_conditions(main):
    make_rule(make_template("Breast"), modalities="MG, US", archive=main)

    why = choose([main], modalities=["US"]).why

    assert why == "The rule “Breast” applies: modality MG or US, archive Main PACS."


def test_archives_are_asked_only_where_a_rule_needs_modalities(main, web):
    def is_open(archive, address="10.1.2.3"):
        route = routing.choose_without_modalities(
            template="", viewer="", archives=[archive], user=None, address=address
        )
        return route is None

    assert not is_open(main)
    make_rule(make_template("Breast"), modalities="MG", archive=main, position=5)

    assert is_open(main)
    assert not is_open(web)
    make_rule(make_template("Ward"), networks="10.1.0.0/16", position=1)

    assert not is_open(main)
    assert is_open(main, "10.2.2.3")


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"networks": "10.1.0.0/33"}, "networks", "10.1.0.0/33 is not an address"),
        ({"networks": "pc-1.example.org"}, "networks", "is not an address"),
        ({"modalities": "CT, M-R"}, "modalities", "M-R is not a modality"),
    ],
)
def test_rule_names_what_it_can_not_use(values, field, message):
    with pytest.raises(ValidationError) as error:
        make_rule(LaunchTemplate.objects.default(), **values)

    assert message in error.value.message_dict[field][0]


# Viewers


def test_viewer_is_sent_to_its_address(main):
    viewer = make_viewer()
    selection = Selection(study_instance_uids=("1.2", "1.3"))

    assert not viewer.must_ask(selection, [main])
    assert (
        viewer.address(selection, [main])
        == "https://ohif.example.org/viewer/main?StudyInstanceUIDs=1.2,1.3"
    )


def test_viewer_must_ask_for_what_the_launch_does_not_name(main, web):
    viewer = make_viewer()

    assert viewer.must_ask(Selection(accession_numbers=("A",)), [main])
    assert viewer.must_ask(Selection(study_instance_uids=("1.2",)), [main, web])


@pytest.mark.parametrize(
    ("preset", "count", "message"),
    [
        ("slicer", 1, "DICOMweb archives"),
        ("microdicom", 2, "at most one study"),
    ],
)
def test_viewer_says_what_it_can_not_open(main, preset, count, message):
    viewer = make_viewer(preset)
    studies = [Study(study_instance_uid=f"1.{number}") for number in range(count)]

    with pytest.raises(NotCarriableError, match=message):
        viewer.address(Selection(accession_numbers=("A",)), [main], studies)


@pytest.mark.parametrize(
    ("preset", "opens_dimse", "opens_dicomweb"),
    [
        ("ohif", True, True),
        ("slicer", False, True),
        ("microdicom", True, False),
        ("radiant", True, False),
        ("osirix", True, True),
    ],
)
def test_viewer_knows_archives_it_can_never_open(
    main, web, preset, opens_dimse, opens_dicomweb
):
    viewer = make_viewer(preset)
    rule = make_rule(make_template("Rule", viewer=viewer))

    for archive, opens in ((main, opens_dimse), (web, opens_dicomweb)):
        assert (viewer.archives_problem([archive]) == "") is opens
        assert rule.may_apply([archive], (), "10.1.2.3") is opens
    assert viewer.archives_problem([main, web]) == ""
    assert "archive=" not in viewer.archives_problem([])


def test_viewer_of_dicomweb_addresses_opens_no_other_archive(main, web):
    viewer = make_viewer(url_template="https://v.example/{study_uid}?u={archive_url}")

    assert "DICOMweb archives" in viewer.archives_problem([main])
    assert viewer.archives_problem([web]) == ""


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url_template": "javascript:alert('{study_uid}')"}, "url_template"),
        ({"slug": "Weasis"}, "slug"),
    ],
)
def test_viewer_names_what_it_can_not_be(values, field):
    defaults = {"name": "X", "slug": "x", "url_template": "https://x/{study_uid}"}
    viewer = Viewer(**(defaults | values))

    with pytest.raises(ValidationError) as error:
        viewer.full_clean()

    assert list(error.value.message_dict) == [field]
