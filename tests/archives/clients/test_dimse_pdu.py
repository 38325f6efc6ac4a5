"""PDUs against pynetdicom's encoders, and against any bytes whatever."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as reference
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import build_context

from archives.clients.base import (
    DimseEndpoint,
    QueryRetrieveRoot,
    UserIdentity,
)
from archives.clients.dimse import uids
from archives.clients.dimse.negotiation import (
    Proposal,
    encode_request,
    parse_acceptance,
    query_proposal,
    retrieval_proposals,
)
from archives.clients.dimse.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    LONGEST_PDU,
    P_DATA_TF,
    Fragment,
    PduError,
    PduReader,
    encode_message,
    encode_pdu,
    fragments,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
ENDPOINT = DimseEndpoint(
    name="Main", host="pacs.example.org", port=104, called_ae_title="PACS"
)
PROPOSAL = query_proposal(QueryRetrieveRoot.STUDY)
FIND = uids.FIND[QueryRetrieveRoot.STUDY]

pdus = st.lists(st.tuples(st.just(P_DATA_TF), st.binary(max_size=200)), max_size=6)
cuts = st.lists(st.integers(min_value=0, max_value=1500), max_size=20)


def split(data: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut for cut in at if cut < len(data))})
    return [data[start:end] for start, end in pairwise(edges)]


@given(pdus, cuts)
def test_reader_finds_the_same_pdus_however_they_are_split(wanted, at):
    stream = b"".join(encode_pdu(kind, body) for kind, body in wanted)
    reader = PduReader()

    found = [pdu for piece in split(stream, at) for pdu in reader.feed(piece)]

    assert found == wanted


def test_reader_takes_one_byte_at_a_time():
    stream = encode_pdu(P_DATA_TF, b"first") + encode_pdu(A_ABORT, bytes(4))
    reader = PduReader()

    found = [pdu for byte in stream for pdu in reader.feed(bytes([byte]))]

    assert found == [(P_DATA_TF, b"first"), (A_ABORT, bytes(4))]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(struct.pack(">BxI", 0x99, 4), id="unknown type"),
        pytest.param(struct.pack(">BxI", P_DATA_TF, LONGEST_PDU + 1), id="too long"),
        pytest.param(struct.pack(">BxI", A_ABORT, 1 << 31), id="long abort"),
        pytest.param(struct.pack(">BxI", 0x01, 100), id="request from the archive"),
        pytest.param(b"HTTP/1.1 400 Bad Request", id="HTTP"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2", id="SSH"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x0a", id="TLS alert"),
    ],
)
def test_reader_refuses_a_header_before_its_body_comes(header):
    with pytest.raises(PduError):
        list(PduReader().feed(header))


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_reader_gives_pdus_or_refuses(pieces):
    reader = PduReader()
    try:
        for piece in pieces:
            for _, body in reader.feed(piece):
                assert len(body) <= LONGEST_PDU
    except PduError:
        pass


@given(
    st.binary(max_size=400),
    st.none() | st.binary(max_size=400),
    st.integers(min_value=8, max_value=500),
)
def test_a_message_arrives_as_it_was_sent(command, dataset, maximum_length):
    message = encode_message(3, command, dataset, maximum_length)

    received = []
    for kind, body in PduReader().feed(message):
        assert kind == P_DATA_TF
        assert len(body) <= maximum_length
        received += fragments(body)

    assert {one.context_id for one in received} == {3}
    commands = [one for one in received if one.is_command]
    data = [one for one in received if not one.is_command]
    assert b"".join(one.content for one in commands) == command
    assert b"".join(one.content for one in data) == (dataset or b"")
    for parts in filter(None, (commands, data)):
        assert [one.is_last for one in parts] == [False] * (len(parts) - 1) + [True]
    assert bool(data) is (dataset is not None)


def test_several_values_in_one_pdu_are_told_apart():
    body = struct.pack(">IBB", 4, 1, 3) + b"ab" + struct.pack(">IBB", 3, 5, 2) + b"c"

    assert list(fragments(body)) == [
        Fragment(1, True, True, b"ab"),
        Fragment(5, False, True, b"c"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        struct.pack(">IBB", 1, 1, 3),
        struct.pack(">IBB", 9, 1, 3) + b"short",
        struct.pack(">IBB", 0xFFFFFFFF, 1, 3) + b"endless",
    ],
)
def test_wrong_lengths_of_values_are_refused(body):
    with pytest.raises(PduError):
        list(fragments(body))


# Association


def decoded_request(
    endpoint: DimseEndpoint, proposal: Proposal
) -> tuple[A_ASSOCIATE, reference.A_ASSOCIATE_RQ]:
    pdu = reference.A_ASSOCIATE_RQ()
    pdu.decode(encode_request(endpoint, proposal))
    return pdu.to_primitive(), pdu


def test_a_request_reads_right_to_pynetdicom():
    identity = UserIdentity(username="hub", passcode="s3cret")
    endpoint = DimseEndpoint(
        name="Main",
        host="h",
        port=104,
        called_ae_title="PACS",
        calling_ae_title="HUB",
        user_identity=identity,
    )

    primitive, pdu = decoded_request(endpoint, PROPOSAL)

    assert primitive.called_ae_title == "PACS"
    assert primitive.calling_ae_title == "HUB"
    assert primitive.application_context_name == uids.APPLICATION_CONTEXT
    find, verification = primitive.presentation_context_definition_list
    assert find.context_id == 1
    assert find.abstract_syntax == FIND
    assert find.transfer_syntax == list(uids.UNCOMPRESSED)
    assert verification.abstract_syntax == uids.VERIFICATION
    information = pdu.user_information
    assert information.maximum_length == 131072
    assert information.user_identity.primary == b"hub"
    assert information.user_identity.secondary == b"s3cret"
    (extended,) = information.ext_neg
    assert extended.uid == FIND
    assert extended.app_info == b"\x01"


def test_a_user_name_goes_without_passcode():
    endpoint = DimseEndpoint(
        name="Main",
        host="h",
        port=104,
        called_ae_title="PACS",
        user_identity=UserIdentity(username="hüb"),
    )

    _, pdu = decoded_request(endpoint, PROPOSAL)

    assert pdu.user_information.user_identity.id_type == 1
    assert pdu.user_information.user_identity.primary == "hüb".encode()


@pytest.mark.parametrize("sop_class_uid", ["", CT])
def test_retrievals_propose_every_encoding_in_128_contexts_each(sop_class_uid):
    proposed = set()
    for proposal in retrieval_proposals(QueryRetrieveRoot.STUDY, sop_class_uid):
        primitive, pdu = decoded_request(ENDPOINT, proposal)
        contexts = primitive.presentation_context_definition_list
        assert len(contexts) <= 128
        ids = [context.context_id for context in contexts]
        assert ids == list(range(1, 2 * len(contexts), 2))
        proposed |= {
            syntax
            for context in contexts
            if context.abstract_syntax == CT
            for syntax in context.transfer_syntax
        }
        roles = pdu.user_information.role_selection
        assert set(roles) == {one.abstract_syntax for one in contexts[1:]}
        assert all(one.scp_role and not one.scu_role for one in roles.values())

    assert proposed == set(uids.STORED)


def test_a_known_class_gets_a_context_per_transfer_syntax():
    proposal = retrieval_proposals(QueryRetrieveRoot.STUDY, CT)[0]

    assert all(len(syntaxes) == 1 for _, syntaxes in proposal.contexts[1:])


def accepted(*, maximum: int = 16384, relational: bytes = b"\x01") -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = uids.APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "HUB", "PACS"
    primitive.result, primitive.result_source = 0, 1
    granted = build_context(FIND, uids.IMPLICIT_VR_LITTLE_ENDIAN)
    granted.context_id, granted.result = 1, 0
    refused = build_context(uids.VERIFICATION, uids.IMPLICIT_VR_LITTLE_ENDIAN)
    refused.context_id, refused.result = 3, 3
    primitive.presentation_context_definition_results_list = [granted, refused]
    length = MaximumLengthNotification()
    length.maximum_length_received = maximum
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = FIND
    extended.service_class_application_information = relational
    primitive.user_information = [length, implementation, extended]
    pdu = reference.A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    encoded = pdu.encode()
    ((kind, body),) = PduReader().feed(encoded)
    assert kind == A_ASSOCIATE_AC
    return body


def test_an_acceptance_by_pynetdicom_reads_right():
    acceptance = parse_acceptance(accepted(maximum=4096), PROPOSAL)

    context = acceptance.context_of(FIND)
    assert context is not None
    assert context.context_id == 1
    assert context.transfer_syntax == uids.IMPLICIT_VR_LITTLE_ENDIAN
    assert acceptance.context_of(uids.VERIFICATION) is None
    assert acceptance.maximum_pdu_length == 4096
    assert acceptance.is_relational


def test_relational_queries_may_be_declined():
    assert not parse_acceptance(accepted(relational=b"\0"), PROPOSAL).is_relational


@given(
    st.binary(max_size=300)
    | st.builds(
        lambda at, byte: (
            accepted()[: at % 300] + bytes([byte]) + accepted()[at % 300 + 1 :]
        ),
        st.integers(min_value=0, max_value=299),
        st.integers(min_value=0, max_value=255),
    )
)
def test_any_acceptance_is_read_or_refused(body):
    try:
        acceptance = parse_acceptance(body, PROPOSAL)
    except PduError:
        return

    assert set(acceptance.contexts) <= {1, 3}
    for context in acceptance.contexts.values():
        assert context.transfer_syntax in uids.UNCOMPRESSED


def test_a_context_that_was_not_proposed_is_refused():
    body = accepted()
    position = body.index(b"\x21\x00")
    body = body[: position + 4] + b"\x09" + body[position + 5 :]

    with pytest.raises(PduError):
        parse_acceptance(body, PROPOSAL)
