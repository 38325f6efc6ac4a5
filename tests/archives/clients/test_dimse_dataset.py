"""Identifiers and command sets against pydicom's and pynetdicom's, and any bytes."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_FIND_RQ, C_GET_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_CANCEL, C_FIND, C_GET, C_STORE
from pynetdicom.dsutils import decode, encode

from archives.clients import matches as tags
from archives.clients.dimse import messages
from archives.clients.dimse.charset import TextDecoder, encode_text
from archives.clients.dimse.dataset import (
    AnswerDecoder,
    DatasetError,
    encode_identifier,
    read_elements,
)
from archives.clients.dimse.keys import SERIES_KEYS, STUDY_KEYS, UNIVERSAL_ID_KEYS
from archives.clients.dimse.messages import CommandError, parse_command
from archives.errors import ArchiveRefusedError

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
UID = "1.2.826.0.1.99.7"

encodings = pytest.mark.parametrize("is_explicit", [False, True])
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\\^="),
    max_size=30,
).map(str.strip)
values = st.fixed_dictionaries(
    {},
    optional={
        tags.PATIENT_NAME: texts,
        tags.PATIENT_ID: texts,
        tags.STUDY_DESCRIPTION: texts,
        tags.STUDY_DATE: st.sampled_from(["", "20260131"]),
        tags.STUDY_INSTANCE_UID: st.sampled_from(["", UID, "1.2.3"]),
        tags.SERIES_NUMBER: st.integers(0, 9999).map(str),
    },
)


def encoded(dataset: Dataset, is_explicit: bool) -> bytes:
    content = encode(dataset, not is_explicit, True)
    assert content is not None
    return content


def nested(depth: int) -> Dataset:
    """A private-free dataset with a sequence in a sequence, and a value after it."""
    dataset = Dataset()
    dataset.PatientID = "AFTER"
    inner = Dataset()
    inner.CodeValue = "1"
    inner.PatientID = "INSIDE"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedStudySequence = Sequence([inner, Dataset()])
        inner = outer
    dataset.update(inner)
    return dataset


def with_undefined_lengths(dataset: Dataset, is_explicit: bool) -> bytes:
    def mark(level: Dataset) -> None:
        for element in level:
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
                    mark(item)

    mark(dataset)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = not is_explicit, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@encodings
@given(values=values)
def test_identifiers_of_pydicom_read_right(is_explicit, values):
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for tag, text in values.items():
        setattr(dataset, keyword_for_tag(tag), text)
    dataset.add_new(0x00091001, "LO", "private")
    dataset.Rows = 512

    elements = read_elements(encoded(dataset, is_explicit), is_explicit=is_explicit)
    attributes = AnswerDecoder("ISO_IR 6").attributes(elements)

    assert attributes.pop(tags.SPECIFIC_CHARACTER_SET) == "ISO_IR 192"
    assert attributes == values


@encodings
@given(values=values)
def test_our_identifiers_read_right_to_pydicom(is_explicit, values):
    content = encode_identifier(
        values,
        is_explicit=is_explicit,
        character_set="ISO_IR 192",
        archive_name="Main",
    )

    dataset = decode(BytesIO(content), not is_explicit, True)

    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    for tag, text in values.items():
        value = dataset[tag].value
        assert str("" if value is None else value) == text
    assert [element.tag for element in dataset] == sorted(
        [tags.SPECIFIC_CHARACTER_SET, *values]
    )


@encodings
def test_every_key_we_ask_for_has_its_value_representation(is_explicit):
    keys = STUDY_KEYS | SERIES_KEYS | {tags.MODALITIES_IN_STUDY: "CT\\MR"}
    keys |= UNIVERSAL_ID_KEYS
    content = encode_identifier(
        keys, is_explicit=is_explicit, character_set="", archive_name="Main"
    )

    dataset = decode(BytesIO(content), not is_explicit, True)

    assert {element.tag for element in dataset} == set(keys)
    assert list(dataset.ModalitiesInStudy) == ["CT", "MR"]
    reference = Dataset()
    for element in dataset:
        reference.add_new(element.tag, dictionary_VR(element.tag), element.value)
    assert encoded(reference, is_explicit) == content


@encodings
@pytest.mark.parametrize("depth", [1, 2, 15])
def test_sequences_are_skipped(is_explicit, depth):
    dataset = nested(depth)

    for content in (
        encoded(dataset, is_explicit),
        with_undefined_lengths(dataset, is_explicit),
    ):
        elements = read_elements(content, is_explicit=is_explicit)
        assert elements == {tags.PATIENT_ID: b"AFTER "}


@encodings
@pytest.mark.parametrize("items", [0, 1, 2])
def test_the_universal_id_of_an_issuer_is_read_from_its_sequence(is_explicit, items):
    dataset = Dataset()
    dataset.IssuerOfPatientIDQualifiersSequence = [
        qualifiers(f"1.2.{number}") for number in range(items)
    ]
    dataset.PatientSex = "O"

    for content in (
        encoded(dataset, is_explicit),
        with_undefined_lengths(dataset, is_explicit),
    ):
        elements = read_elements(content, is_explicit=is_explicit)
        attributes = AnswerDecoder("ISO_IR 192").attributes(elements)
        universal_id = attributes.pop(tags.UNIVERSAL_ENTITY_ID, "")
        assert universal_id == ("1.2.0" if items else "")
        assert attributes == {tags.PATIENT_SEX: "O"}


def qualifiers(universal_entity_id: str) -> Dataset:
    item = Dataset()
    item.UniversalEntityID = universal_entity_id
    item.UniversalEntityIDType = "ISO"
    return item


@encodings
@pytest.mark.parametrize(
    "value", [b"\xff" * 8, b"\0" * 8, b"\xfe\xff\x00\xe0\xff\0\0\0"]
)
def test_a_sequence_of_qualifiers_that_is_none_spoils_no_answer(is_explicit, value):
    header = b"\x10\x00\x24\x00" + (b"SQ\0\0" if is_explicit else b"")
    patient_id = b"\x10\x00\x20\x00" + (b"LO\x02\0" if is_explicit else b"\x02\0\0\0")

    elements = read_elements(
        patient_id + b"ID" + header + b"\x08\0\0\0" + value, is_explicit=is_explicit
    )

    assert elements.pop(tags.UNIVERSAL_ENTITY_ID, b"") == b""
    assert elements == {tags.PATIENT_ID: b"ID"}


@encodings
def test_qualifiers_within_qualifiers_are_read_once(is_explicit):
    header = b"\x10\x00\x24\x00" + (b"SQ\0\0" if is_explicit else b"")
    content = b""
    for _ in range(5_000):
        item = b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content
        content = header + len(item).to_bytes(4, "little") + item

    assert read_elements(content, is_explicit=is_explicit) == {
        tags.UNIVERSAL_ENTITY_ID: b""
    }


@encodings
def test_a_bomb_of_nested_sequences_is_refused(is_explicit):
    header = b"\x08\x00\x10\x11" + (b"SQ\0\0" if is_explicit else b"")
    level = header + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"

    with pytest.raises(DatasetError):
        read_elements(level * 50_000, is_explicit=is_explicit)


def test_unknown_sequences_hold_implicit_items():
    item = b"\x10\x00\x20\x00" + b"\x04\0\0\0" + b"XXXX"  # PS3.5 6.2.2
    content = (
        b"\x08\x00\x10\x11UN\0\0\xff\xff\xff\xff"
        + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        + item
        + b"\xfe\xff\x0d\xe0\0\0\0\0"
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
        + b"\x10\x00\x20\x00LO\x02\x00ID"
    )

    elements = read_elements(content, is_explicit=True)

    assert elements == {tags.PATIENT_ID: b"ID"}


@encodings
@pytest.mark.parametrize("cut", [1, 5, 7, 9])
def test_truncated_identifiers_are_refused(is_explicit, cut):
    dataset = Dataset()
    dataset.PatientID = "12345678"
    content = encoded(dataset, is_explicit)

    with pytest.raises(DatasetError):
        read_elements(content[:-cut], is_explicit=is_explicit)


@encodings
@given(content=st.binary(max_size=300))
def test_any_identifier_is_read_or_refused(is_explicit, content):
    try:
        elements = read_elements(content, is_explicit=is_explicit)
    except DatasetError:
        return

    attributes = AnswerDecoder("ISO_IR 192").attributes(elements)
    assert all(isinstance(text, str) for text in attributes.values())


@encodings
@given(
    values=values,
    at=st.integers(min_value=0, max_value=400),
    byte=st.integers(min_value=0, max_value=255),
)
def test_a_spoilt_identifier_is_read_or_refused(is_explicit, values, at, byte):
    content = bytearray(
        encode_identifier(
            {tags.QUERY_RETRIEVE_LEVEL: "STUDY", **values},
            is_explicit=is_explicit,
            character_set="ISO_IR 192",
            archive_name="Main",
        )
    )
    content[at % len(content)] = byte

    try:
        elements = read_elements(bytes(content), is_explicit=is_explicit)
    except DatasetError:
        return

    AnswerDecoder("ISO_IR 192").attributes(elements)


# Text


@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("ISO_IR 100", "Dupré^Jérôme"),
        ("ISO_IR 101", "Dvořák^Jiří"),
        ("ISO_IR 126", "Παπαδάκης^Νίκος"),
        ("ISO_IR 144", "Иванова^Ольга"),
        ("ISO_IR 192", "Zoë^Ægir 🩻=王^小东"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR_100", "Dupré^Jérôme"),
    ],
)
def test_text_survives_every_character_set(character_set, text):
    content = encode_text(text, character_set, "Main")

    assert TextDecoder(character_set)(content) == text


@pytest.mark.parametrize(
    "character_set", [["", "ISO 2022 IR 87"], ["", "ISO 2022 IR 149"], "ISO_IR 144"]
)
def test_names_encoded_by_pydicom_read_right(character_set):
    name = {
        "ISO_IR 144": "Иванова^Ольга",
        "ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    }[character_set if isinstance(character_set, str) else character_set[1]]
    dataset = Dataset()
    dataset.SpecificCharacterSet = character_set
    dataset.PatientName = name

    elements = read_elements(encoded(dataset, False), is_explicit=False)

    assert AnswerDecoder("").attributes(elements)[tags.PATIENT_NAME] == name


def test_an_answer_that_does_not_say_is_in_the_registered_character_set():
    elements = {tags.PATIENT_NAME: "Дмитрий".encode("iso8859_5")}

    found = AnswerDecoder("ISO_IR 144").attributes(elements)

    assert found[tags.PATIENT_NAME] == "Дмитрий"


@pytest.mark.parametrize(
    ("character_set", "value"),
    [
        ("ISO_IR 192", b"M\xfcller"),
        ("ISO_IR 6", b"M\xfcller"),
        ("NO SUCH SET", b"M\xfcller"),
        ("\\ISO 2022 IR 87", b"\x1b$B\x00\x01\xff\x1b(B"),
        ("\\ISO 2022 IR 87", b"\x1b%Gunknown"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xff"),
        ("", b"\x1b"),
    ],
)
def test_malformed_text_is_kept_readable(character_set, value):
    text = TextDecoder(character_set)(value)

    assert isinstance(text, str)
    assert text


@given(
    st.binary(max_size=80),
    st.sampled_from(
        ["", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "?"]
    ),
)
def test_any_bytes_are_text(value, character_set):
    assert isinstance(TextDecoder(character_set)(value), str)


def test_padding_is_stripped():
    assert TextDecoder("")(b" 1.2.3\0") == "1.2.3"
    assert TextDecoder("ISO_IR 192")("  Zoë ".encode()) == "Zoë"


def test_a_search_that_the_character_set_cannot_express_says_so():
    with pytest.raises(ArchiveRefusedError, match="ISO_IR 100"):
        encode_text("山田", "ISO_IR 100", "Main")
    with pytest.raises(ArchiveRefusedError, match="ISO_IR 6"):
        encode_text("Zoë", "ISO_IR 6", "Main")


# Command sets


def reference(message: object, primitive: object) -> bytes:
    message.primitive_to_message(primitive)  # type: ignore[attr-defined]
    return encoded(message.command_set, False)  # type: ignore[attr-defined]


def test_requests_are_the_bytes_of_pynetdicom():
    find, get, cancel = C_FIND(), C_GET(), C_CANCEL()
    for primitive in (find, get):
        primitive.MessageID, primitive.AffectedSOPClassUID = 7, FIND
        primitive.Priority, primitive.Identifier = 0, BytesIO(b"x")
    cancel.MessageIDBeingRespondedTo = 7

    assert messages.find_request(7, FIND) == reference(C_FIND_RQ(), find)
    assert messages.get_request(7, FIND) == reference(C_GET_RQ(), get)
    assert messages.cancel_request(7) == reference(C_CANCEL_RQ(), cancel)


def test_a_store_response_answers_its_request():
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = 3, 0xC000
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = CT, UID
    request = messages.Command(
        command_field=messages.C_STORE_RQ,
        message_id=3,
        message_id_being_responded_to=-1,
        affected_sop_class_uid=CT,
        affected_sop_instance_uid=UID,
        status=-1,
        completed_suboperations=0,
        has_dataset=True,
    )

    answer = messages.store_response(request, 0xC000)

    command = parse_command(answer)
    assert command == parse_command(reference(C_STORE_RSP(), response))
    assert command.command_field == messages.C_STORE_RQ | messages.RESPONSE
    assert command.message_id_being_responded_to == 3
    assert command.affected_sop_instance_uid == UID
    assert command.status == 0xC000
    assert not command.has_dataset


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1\xff\xff\xff\xff",
        b"\x08\0\0\1\2\0\0\0\x20\x80",
        messages.find_request(1, FIND)[:-3],
    ],
)
def test_broken_command_sets_are_refused(data):
    with pytest.raises(CommandError):
        parse_command(data)


@given(st.binary(max_size=200))
def test_any_command_set_is_read_or_refused(data):
    try:
        command = parse_command(data)
    except CommandError:
        return
    assert 0 <= command.command_field <= 0xFFFF
