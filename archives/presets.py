"""What is known of each archive product: what to enter, its limits, its quirks.

One table, ``PRESETS``. A preset fills the administrator's form, and tells the client what
the archive would refuse; nothing else in the hub asks which product an archive is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from archives.clients.base import HttpAuthentication, Quirks
from archives.texts import gettext_noop as _

DICOMWEB: Final = "dicomweb"
DIMSE: Final = "dimse"
_CONFORMS: Final = Quirks()


class LaunchMode(StrEnum):
    """Ways to the images that a product has for Weasis."""

    WADO_URI = "wado_uri"  # a manifest, image by image
    WADO_RS = "wado_rs"  # a manifest for Weasis 4.7
    DICOM_RS = "dicom_rs"  # $dicom:rs, without a manifest
    GATEWAY = "gateway"  # through the hub, and no other way


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An archive product.

    ``url``, ``wado_uri_url`` and ``oauth2_url`` (that of its token server) show the shape
    of its addresses. ``scope`` is what its tokens are asked for. ``enter`` says in one
    line what goes where, ``enter_dimse`` the same for DIMSE; ``notes`` are what else to
    know, ``dicomweb_notes`` what only concerns that protocol.
    ``launch_modes`` are the ways Weasis can take, in the order in which automatic
    settings try them: all but ``GATEWAY`` need an archive that asks workstations for no
    password, and ``WADO_URI`` one whose address for it is entered.
    ``query_extension`` is added to each query of ``$dicom:rs``; ``repeats_parameters``
    means that the archive wants one ``includefield`` for each attribute.
    """

    slug: str
    name: str
    protocols: tuple[str, ...]
    url: str = ""
    wado_uri_url: str = ""
    enter: str = ""
    authentication: HttpAuthentication = HttpAuthentication.NONE
    oauth2_url: str = ""
    scope: str = ""
    page_size: int = 1000
    port: int | None = None
    called_ae_title: str = ""
    enter_dimse: str = ""
    notes: tuple[str, ...] = ()
    dicomweb_notes: tuple[str, ...] = ()
    launch_modes: tuple[LaunchMode, ...]
    query_extension: str = ""
    repeats_parameters: bool = False
    quirks: Quirks = _CONFORMS

    def initial(self, protocol: str) -> dict[str, Any]:
        """Values for the fields of a new archive, by the names of the model."""
        if protocol == DIMSE:
            known = {"port": self.port, "called_ae_title": self.called_ae_title}
            return {name: value for name, value in known.items() if value}
        return {
            "authentication": self.authentication,
            "token_scope": self.scope,
            "page_size": self.page_size,
        }

    def placeholders(self, protocol: str) -> dict[str, str]:
        """What a field that is filled in looks like."""
        if protocol == DIMSE:
            return {
                "host": "pacs.example.org",
                "called_ae_title": self.called_ae_title,
                "wado_uri_url": self.wado_uri_url or "https://pacs.example.org/wado",
            }
        shapes = {"url": self.url, "wado_uri_url": self.wado_uri_url}
        return shapes | {"token_url": self.oauth2_url}

    @property
    def is_generic(self) -> bool:
        """Whether nothing is known of the product but what it speaks."""
        return self.slug in (DICOMWEB, DIMSE)

    def notes_on(self, protocol: str) -> tuple[str, ...]:
        return self.notes + (() if protocol == DIMSE else self.dicomweb_notes)

    def instruction(self, protocol: str) -> str:
        return self.enter_dimse if protocol == DIMSE else self.enter


_TABLE: Final = (
    Preset(
        slug="dcm4chee",
        name="dcm4chee-arc-light",
        protocols=(DICOMWEB, DIMSE),
        url="http://pacs.example.org:8080/dcm4chee-arc/aets/DCM4CHEE/rs",
        oauth2_url="https://keycloak.example.org:8843/realms/dcm4che/protocol/"
        "openid-connect/token",
        wado_uri_url="http://pacs.example.org:8080/dcm4chee-arc/aets/DCM4CHEE/wado",
        enter=_(
            "The address ends in /aets/, the archive's AE title, and /rs; the port is "
            "8080, or 8443 with TLS."
        ),
        port=11112,
        called_ae_title="DCM4CHEE",
        enter_dimse=_(
            "The port is 11112, or 2762 with TLS; register the hub's AE title "
            "among the archive's devices if it only accepts those it knows."
        ),
        notes=(
            _(
                "Secured by Keycloak, it wants OAuth2 client credentials: a client with "
                "service accounts on, and a role the archive lets query and retrieve."
            ),
            _(
                "Too broad a search is refused (HTTP 413) or cut with a warning, as its "
                "query limits are set."
            ),
        ),
        launch_modes=(LaunchMode.WADO_URI, LaunchMode.WADO_RS, LaunchMode.DICOM_RS),
        query_extension="&includedefaults=false",
    ),
    Preset(
        slug="orthanc",
        name="Orthanc",
        protocols=(DICOMWEB, DIMSE),
        url="http://orthanc.example.org:8042/dicom-web",
        wado_uri_url="http://orthanc.example.org:8042/wado",
        enter=_(
            "The address of the DICOMweb plug-in, usually /dicom-web; with Basic, a "
            "user of RegisteredUsers."
        ),
        authentication=HttpAuthentication.BASIC,
        port=4242,
        called_ae_title="ORTHANC",
        enter_dimse=_(
            "The port is DicomPort (4242), the AE title DicomAet (ORTHANC); add "
            "the hub to DicomModalities."
        ),
        notes=(
            _(
                "LimitFindResults and LimitFindInstances cut answers without a word: leave "
                "them at 0."
            ),
        ),
        dicomweb_notes=(
            _(
                "Images come through the hub: old plug-ins refuse the address that Weasis "
                "asks for directly."
            ),
        ),
        launch_modes=(LaunchMode.WADO_URI, LaunchMode.WADO_RS, LaunchMode.DICOM_RS),
    ),
    Preset(
        slug="google",
        name="Google Cloud Healthcare",
        protocols=(DICOMWEB,),
        url="https://healthcare.googleapis.com/v1/projects/PROJECT/locations/LOCATION/"
        "datasets/DATASET/dicomStores/STORE/dicomWeb",
        enter=_(
            "Fill in project, location, dataset and DICOM store; the service account "
            "needs healthcare.dicomStores.dicomWebRead, as the role Healthcare DICOM Viewer "
            "has it."
        ),
        authentication=HttpAuthentication.GOOGLE,
        notes=(
            _(
                "It has no WADO-URI and no thumbnails: images come through the hub, or by "
                "WADO-RS."
            ),
            _(
                "Names are matched by the beginnings of words; descriptions, modalities, "
                "birth dates and sex are checked by the hub among what else matches."
            ),
        ),
        launch_modes=(LaunchMode.WADO_RS, LaunchMode.GATEWAY),
        repeats_parameters=True,
        quirks=Quirks(
            studies_per_page=5000,
            series_per_page=5000,
            instances_per_page=50_000,
            reachable_matches=1_000_000,
            takes_wildcards=False,
            takes_uid_lists=False,
            study_keys=frozenset(
                {
                    "StudyInstanceUID",
                    "PatientName",
                    "PatientID",
                    "AccessionNumber",
                    "ReferringPhysicianName",
                    "StudyDate",
                }
            ),
            fuzzy_keys=frozenset({"PatientName"}),
        ),
    ),
    Preset(
        slug="azure",
        name=_("Microsoft DICOM service (Azure)"),
        protocols=(DICOMWEB,),
        url="https://WORKSPACE-SERVICE.dicom.azurehealthcareapis.com/v2",
        enter=_(
            "The service URL, with the version of its API (/v1 or /v2) at the end; "
            "client ID and secret are those of an app registration with the role DICOM Data "
            "Reader."
        ),
        authentication=HttpAuthentication.OAUTH2,
        oauth2_url="https://login.microsoftonline.com/TENANT/oauth2/v2.0/token",
        scope="https://dicom.healthcareapis.azure.com/.default",
        page_size=200,
        notes=(
            _(
                "Microsoft's open-source server is the same without a token: choose None."
            ),
            _(
                "It sends at most 200 matches at a time, and matches names by the beginnings "
                "of words."
            ),
        ),
        launch_modes=(LaunchMode.WADO_RS, LaunchMode.GATEWAY),
        repeats_parameters=True,
        quirks=Quirks(
            studies_per_page=200,
            series_per_page=200,
            instances_per_page=200,
            takes_wildcards=False,
            takes_uid_lists=False,
            study_keys=frozenset(
                {
                    "StudyInstanceUID",
                    "PatientName",
                    "PatientID",
                    "PatientBirthDate",
                    "AccessionNumber",
                    "ReferringPhysicianName",
                    "StudyDate",
                    "StudyDescription",
                    "ModalitiesInStudy",
                }
            ),
            fuzzy_keys=frozenset({"PatientName", "ReferringPhysicianName"}),
        ),
    ),
    Preset(
        slug="dicomcloud",
        name="DICOMcloud",
        protocols=(DICOMWEB,),
        url="https://dicomcloud.example.org/api",
        wado_uri_url="https://dicomcloud.example.org/api/wadouri",
        enter=_(
            "The address of the web application, ending in /api; authentication as its "
            "host is set up."
        ),
        notes=(
            _(
                "It sends all matches at once, whatever is asked: searches should be narrow."
            ),
            _("It has no thumbnails."),
        ),
        launch_modes=(LaunchMode.WADO_URI, LaunchMode.WADO_RS, LaunchMode.DICOM_RS),
        quirks=Quirks(has_paging=False),
    ),
    Preset(
        slug="kheops",
        name="Kheops",
        protocols=(DICOMWEB,),
        url="https://kheops.example.org/api",
        wado_uri_url="https://kheops.example.org/api/wado",
        enter=_(
            "The address ends in /api; the token is that of an album shared with "
            "permission to read."
        ),
        authentication=HttpAuthentication.BEARER,
        notes=(
            _(
                "The hub sees the album of the token, and no other. Choose how long the "
                "token is valid when you make it."
            ),
            _("Series and images are only found in a study that is named too."),
        ),
        launch_modes=(LaunchMode.WADO_URI, LaunchMode.WADO_RS),
        quirks=Quirks(
            is_relational=False,
            study_keys=frozenset(
                {
                    "StudyInstanceUID",
                    "PatientName",
                    "PatientID",
                    "AccessionNumber",
                    "ReferringPhysicianName",
                    "StudyDate",
                    "StudyDescription",
                    "ModalitiesInStudy",
                }
            ),
            takes_uid_lists=False,
        ),
    ),
    Preset(
        slug="healthimaging",
        name="Amazon HealthImaging",
        protocols=(DICOMWEB,),
        url="https://dicom-medical-imaging.REGION.amazonaws.com/datastore/DATASTORE",
        enter=_(
            "Fill in region and data store; the access keys are those of an IAM user "
            "that may do medical-imaging:SearchDICOM* and medical-imaging:GetDICOM*."
        ),
        authentication=HttpAuthentication.AWS,
        notes=(
            _(
                "A data store that was made with an OIDC provider may be asked with OAuth2 "
                "client credentials of that provider instead."
            ),
            _(
                "Series and images are only found in a study that is named too, and no more "
                "than 10,000 matches of one search."
            ),
        ),
        launch_modes=(LaunchMode.GATEWAY,),
        quirks=Quirks(
            reachable_matches=10_000,
            is_relational=False,
            reads_whole_studies=False,
            takes_uid_lists=False,
            study_keys=frozenset(
                {
                    "StudyInstanceUID",
                    "PatientName",
                    "PatientID",
                    "AccessionNumber",
                    "ReferringPhysicianName",
                    "StudyDate",
                    "ModalitiesInStudy",
                }
            ),
        ),
    ),
    Preset(
        slug="healthimaging-proxy",
        name=_("Amazon HealthImaging by dicomweb-proxy"),
        protocols=(DICOMWEB,),
        url="http://proxy.example.org:8080/AETITLE",
        enter=_("The address of the proxy, ending in the AE title of the data store."),
        notes=(
            _(
                "The proxy asks nobody for a password: let only the hub reach it, or put a "
                "reverse proxy with Basic authentication before it."
            ),
        ),
        launch_modes=(LaunchMode.DICOM_RS, LaunchMode.WADO_RS),
    ),
    Preset(
        slug="dicomweb",
        name=_("Other archive with DICOMweb"),
        protocols=(DICOMWEB,),
        url="https://pacs.example.org/dicom-web",
        wado_uri_url="https://pacs.example.org/wado",
        enter=_("The address is the part before /studies."),
        notes=(
            _("The hub learns by itself how the archive pages and what it refuses."),
        ),
        launch_modes=(LaunchMode.WADO_URI, LaunchMode.WADO_RS, LaunchMode.DICOM_RS),
    ),
    Preset(
        slug="dimse",
        name=_("Other archive with DIMSE"),
        protocols=(DIMSE,),
        wado_uri_url="https://pacs.example.org/wado",
        port=104,
        enter_dimse=_(
            "Host, port and AE title as the vendor says; let the archive's "
            "administrator register the hub's AE title for C-FIND and C-GET (or C-MOVE)."
        ),
        notes=(
            _(
                "An archive without C-GET sends its images by C-MOVE: choose that, and register "
                "the hub's storage service there. Or enter its WADO-URI address."
            ),
            _("Set fewer associations than the archive allows to one AE title."),
        ),
        launch_modes=(LaunchMode.GATEWAY, LaunchMode.WADO_URI),
    ),
)

PRESETS: Final = {preset.slug: preset for preset in _TABLE}


def offering(protocol: str) -> tuple[Preset, ...]:
    """The products that speak a protocol."""
    return tuple(preset for preset in _TABLE if protocol in preset.protocols)


def preset_of(slug: str, protocol: str) -> Preset:
    """The product of that name, or the generic one of the protocol."""
    return PRESETS.get(slug) or PRESETS[protocol]


def choices() -> list[tuple[str, str]]:
    return [(preset.slug, preset.name) for preset in _TABLE]
