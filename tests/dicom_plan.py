"""The patients of the test archive: what ``tests.dicom_files`` makes files of.

Everything is invented. Each group serves a purpose:

demo        ordinary patients: CT, MR, CR, multi-frame US, KO, PR, SR, PDF and priors
charsets    names and texts in several character sets, names of five components
issuers     one Patient ID from two issuers, one accession number in two studies
edges       XML metacharacters, empty and missing attributes, identifiers to be quoted
compressed  RLE, JPEG, JPEG-LS, JPEG 2000 and deflated objects, and implicit VR
many        one patient with 40 studies
big         one study of 3,000 tiny instances in 10 series
pixels      one series of images in full size
documented  what the example links of weasis-pacs-connector and ViewerHub name
"""

from __future__ import annotations

from dataclasses import dataclass

LATIN_1 = "ISO_IR 100"
UTF_8 = "ISO_IR 192"


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    modality: str
    description: str = ""
    instances: int = 1
    frames: int = 0  # 0: an image without Number of Frames
    size: int = 8  # rows and columns
    source: str = ""  # a file of pydicom's own to take the pixels from
    syntax: str = ""  # what to call the Transfer Syntax of those pixels
    without: tuple[str, ...] = ()  # keywords of attributes left out
    uid: str = ""  # Series Instance UID, where it must be a certain one
    first_uid: str = ""  # SOP Instance UID of the first instance; needs instances=1


@dataclass(frozen=True, slots=True)
class PlannedStudy:
    key: str
    description: str
    series: tuple[PlannedSeries, ...]
    date: str = "20250314"
    time: str = "093000"
    accession_number: str = ""
    referring_physician_name: str = "Okafor^Ngozi"
    uid: str = ""  # Study Instance UID, where it must be a certain one
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedPatient:
    group: str
    patient_id: str
    patient_name: str
    studies: tuple[PlannedStudy, ...]
    issuer_of_patient_id: str = ""
    patient_birth_date: str = "19751130"
    patient_sex: str = "O"
    specific_character_set: str | tuple[str, ...] = LATIN_1


def demo() -> list[PlannedPatient]:
    thorax = (
        PlannedSeries("CT", "Topogram", 2),
        PlannedSeries("CT", "Lung 1.0", 20),
        PlannedSeries("CT", "Mediastinum 3.0", 12),
        PlannedSeries("KO", "Key images"),
        PlannedSeries("PR", "Windowing"),
        PlannedSeries("SR", "Dose report"),
    )
    return [
        PlannedPatient(
            "demo",
            "DEMO-1",
            "Lindqvist^Astrid^Maria^Dr.^PhD",
            (
                PlannedStudy("ct", "CT Thorax", thorax, "20260302", "081500", "A1001"),
                PlannedStudy(
                    "ct-prior",
                    "CT Thorax",
                    (PlannedSeries("CT", "Lung 1.0", 16),),
                    "20240611",
                    "154500",
                    "A0877",
                ),
                PlannedStudy(
                    "cr",
                    "Chest PA and LAT",
                    (PlannedSeries("CR", "PA"), PlannedSeries("CR", "LAT")),
                    "20260303",
                    "070000",
                    "A1002",
                ),
            ),
            "HOSPITAL-A",
            "19610214",
            "F",
        ),
        PlannedPatient(
            "demo",
            "DEMO-2",
            "Moreau^Bastien",
            (
                PlannedStudy(
                    "mr",
                    "MR Knee",
                    (
                        PlannedSeries("MR", "t1 cor", 10),
                        PlannedSeries("MR", "pd sag", 10),
                    ),
                    "20251120",
                    "112030.250",
                    "A1010",
                ),
                PlannedStudy(
                    "us",
                    "US Abdomen",
                    (PlannedSeries("US", "Cine", 2, frames=5), PlannedSeries("DOC")),
                    "20251121",
                    "1605",
                    "A1011",
                ),
            ),
            "HOSPITAL-A",
            "19800630",
            "M",
        ),
    ]


def charsets() -> list[PlannedPatient]:
    rows: list[tuple[str, str, str | tuple[str, ...], str]] = [
        ("CS-100", "Dupré^Jérôme", LATIN_1, "Épaule gauche"),
        ("CS-101", "Dvořák^Jiří", "ISO_IR 101", "Levá ruka"),
        ("CS-126", "Παπαδάκης^Νίκος", "ISO_IR 126", "Θώρακας"),
        ("CS-144", "Иванова^Ольга", "ISO_IR 144", "Грудная клетка"),
        ("CS-192", "Zoë^Ægir 🩻=王^小东", UTF_8, "Beyond the BMP 🩻"),
        (
            "CS-2022-JP",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            ("", "ISO 2022 IR 87"),
            "Chest",
        ),
        (
            "CS-2022-KR",
            "Hong^Gildong=洪^吉洞=홍^길동",
            ("", "ISO 2022 IR 149"),
            "Chest",
        ),
        ("CS-FIVE", "Adams^John Robert Quincy^^Rev.^B.A. M.Div.", LATIN_1, "Names"),
    ]
    return [
        PlannedPatient(
            "charsets",
            patient_id,
            name,
            (
                PlannedStudy(
                    patient_id.lower(),
                    text,
                    (PlannedSeries("CT", text, 2),),
                    accession_number=f"CS{number:03d}",
                ),
            ),
            specific_character_set=character_set,
        )
        for number, (patient_id, name, character_set, text) in enumerate(rows)
    ]


def issuers() -> list[PlannedPatient]:
    def study(key: str, accession_number: str) -> PlannedStudy:
        image = (PlannedSeries("CR", "PA"),)
        return PlannedStudy(key, "Chest", image, accession_number=accession_number)

    return [
        PlannedPatient(
            "issuers",
            "SHARED-ID",
            f"Namesake^Of{issuer[-1]}",
            (study(f"issuer-{issuer[-1].lower()}", "SHARED-ACC"),),
            issuer,
        )
        for issuer in ("HOSPITAL-A", "HOSPITAL-B")
    ] + [
        PlannedPatient(
            "issuers",
            "NO-ISSUER",
            "Without^Issuer",
            (study("accession-1", "TWICE"), study("accession-2", "TWICE")),
        )
    ]


def edges() -> list[PlannedPatient]:
    unnumbered = PlannedSeries(
        "CT", "", 2, without=("SeriesNumber", "InstanceNumber", "SeriesDescription")
    )
    absent = ("StudyDescription", "StudyTime", "StudyID", "AccessionNumber")
    return [
        PlannedPatient(
            "edges",
            "XML-<&>\"'",
            'O\'Neill & Daughters <b>^"Fay"',
            (
                PlannedStudy(
                    "xml",
                    "<script>alert(\"1\")</script> & 'x'",
                    (PlannedSeries("CT", "a < b && c > d ]]>", 2),),
                    accession_number="A&<1>",
                ),
            ),
            "R&D",
        ),
        PlannedPatient(
            "edges",
            "EMPTY",
            "",
            (
                PlannedStudy(
                    "empty",
                    "",
                    (unnumbered,),
                    date="",
                    referring_physician_name="",
                    without=absent,
                ),
            ),
            patient_birth_date="",
            patient_sex="",
        ),
        PlannedPatient(
            "edges",
            "QUOTE/#%20+&=; é",
            "Quoted^Identifier",
            (
                PlannedStudy(
                    "quote",
                    "D" * 64,
                    (PlannedSeries("CT", "S" * 64),),
                    accession_number="A/1&=+#%",
                ),
            ),
            specific_character_set=UTF_8,
        ),
    ]


def compressed() -> list[PlannedPatient]:
    sources = (
        ("MR", "MR_small_RLE.dcm", "RLE Lossless"),
        ("OT", "SC_rgb_jpeg_dcmtk.dcm", "JPEG Baseline"),
        ("MR", "MR_small_jp2klossless.dcm", "JPEG 2000 lossless"),
        ("MR", "MR_small_jpeg_ls_lossless.dcm", "JPEG-LS lossless"),
        ("MR", "MR_small_implicit.dcm", "Implicit little endian"),
        ("OT", "SC_rgb_rle_2frame.dcm", "RLE Lossless, 2 frames"),
        ("OT", "SC_rgb_jpeg_gdcm.dcm", "JPEG lossless, first order"),
        ("OT", "JPEG2000.dcm", "JPEG 2000"),
        ("OT", "JPEGLSNearLossless_16.dcm", "JPEG-LS near lossless"),
        ("OT", "image_dfl.dcm", "Deflated"),
    )
    series = tuple(
        PlannedSeries(modality, text, source=name) for modality, name, text in sources
    )
    # A decoder of any predictor reads those of the first order, too.
    series += (
        PlannedSeries(
            "OT",
            "JPEG lossless",
            source="SC_rgb_jpeg_gdcm.dcm",
            syntax="1.2.840.10008.1.2.4.57",
        ),
    )
    study = PlannedStudy("compressed", "Encodings", series, accession_number="C1")
    return [PlannedPatient("compressed", "COMPRESSED", "Encoded^Variously", (study,))]


def many(studies: int = 40) -> list[PlannedPatient]:
    modalities = ("CT", "MR", "CR", "US", "CT")
    planned = tuple(
        PlannedStudy(
            f"many-{number:02d}",
            f"Visit {number}",
            tuple(
                PlannedSeries(modalities[(number + index) % 5], f"Series {index}", 4)
                for index in range(1 + number % 3)
            ),
            f"{1986 + number}0704",
            accession_number=f"M{number:04d}",
        )
        for number in range(studies)
    )
    return [PlannedPatient("many", "MANY", "Frequent^Visitor", planned, "HOSPITAL-A")]


def big(instances: int = 3000, series: int = 10) -> list[PlannedPatient]:
    planned = tuple(
        PlannedSeries("CT", f"Phase {number}", instances // series)
        for number in range(series)
    )
    study = PlannedStudy("big", "Perfusion", planned, accession_number="BIG1")
    return [PlannedPatient("big", "BIG", "Large^Study", (study,), "HOSPITAL-A")]


def pixels(instances: int = 20, size: int = 512) -> list[PlannedPatient]:
    image = PlannedSeries("CT", f"{size} x {size}", instances, size=size)
    study = PlannedStudy("pixels", "Full size", (image,), accession_number="PIX1")
    return [PlannedPatient("pixels", "PIXELS", "Full^Size", (study,), "HOSPITAL-A")]


def documented() -> list[PlannedPatient]:
    def study(
        key: str,
        description: str = "Examination",
        modalities: str = "CT",
        date: str = "20111108",
        **fields: str,
    ) -> PlannedStudy:
        series = tuple(PlannedSeries(code, code) for code in modalities.split())
        return PlannedStudy(f"doc-{key}", description, series, date, **fields)

    def patient(patient_id: str, issuer: str, *studies: PlannedStudy) -> PlannedPatient:
        name = f"Documented^{patient_id}"
        return PlannedPatient("documented", patient_id, name, studies, issuer)

    def history(key: str) -> tuple[PlannedStudy, ...]:
        return (
            study(f"{key}-2008", "IRM Abdomen", "MR", "20080501"),
            study(f"{key}-2009", "Thorax", "CT SR", "20091231"),
            study(f"{key}-2011", "ABDO-pelvien", "CT", "20110303"),
            study(f"{key}-2013", "Coronary angiography", "XA", "20130606"),
            study(f"{key}-2015", "Épaule", "MR", "20150101"),
        )

    def parts(key: str, series_uid: str, object_uid: str) -> PlannedStudy:
        series = (
            PlannedSeries("CT", "whole", uid=series_uid),
            PlannedSeries("CT", "one image", first_uid=object_uid),
            PlannedSeries("CT", "another", 2),
        )
        return PlannedStudy(f"doc-{key}", "Parts", series)

    ge, siemens = "1.2.840.113704.1.111", "1.3.12.2.1107.5.1.4.54023.30000004093"
    old = "1.3.6.1.4.1.5962.1.2.2.20031208063649"
    return [
        patient("9702672", "test", study("issuer-test")),
        patient("9702672", "other", study("issuer-other")),
        patient("97026728", "test", *history("a")),
        patient("2023231696", "", study("second", modalities="US")),
        patient("1168514", "test", *history("b")),
        patient("11685148", "test", *history("c")),
        patient(
            "LINKS",
            "",
            study("855", uid=f"{old}.855"),
            study("857", uid=f"{old}.857"),
            parts("parts", f"{ge}.4924.1273631010.17", f"{ge}.3520.1273640118.5118"),
            study("3224252", accession_number="3224252"),
            study("1657271", accession_number="1657271"),
            study("2066852", accession_number="2066852"),
            study("21", uid=f"{siemens}013443132800000021"),
            parts(
                "siemens",
                f"{siemens}016410718700008612",
                f"{siemens}016410718700010432",
            ),
        ),
        patient(
            "H13885_9M",
            "",
            study(
                "pixels",
                "TEST NON SQUARE PIXELS",
                "US MR",
                uid="2.16.756.5.5.100.397184556.14391.1373576413.1508",
            ),
        ),
    ]


GROUPS = {
    maker.__name__: maker
    for maker in (
        demo,
        charsets,
        issuers,
        edges,
        compressed,
        many,
        big,
        pixels,
        documented,
    )
}
