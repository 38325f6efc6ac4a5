"""The OpenAPI document against the running hub: neither promises what the other denies."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from launcher.api.endpoints import api
from tests.factories import make_api_client, make_dimse_archive

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("valkey"),
]

document = json.loads(json.dumps(api.get_openapi_schema()))
schema = schemathesis.openapi.from_dict(
    document,
    config=SchemathesisConfig.from_dict(
        {"seed": 1, "generation": {"deterministic": True, "database": "none"}}
    ),
)
schemathesis.openapi.format(
    "patient-id",
    st.from_regex(r"[A-Z0-9. -]{0,20}[A-Z0-9](\^\^\^[A-Z0-9]{1,20})?", fullmatch=True),
)


def with_known_names(body):
    """No archive and no template has a name that is made up: take some that exist."""
    known = {"archives": ["main"], "template": "weasis"}
    return body | {name: known[name] for name in known.keys() & body.keys()}


def with_open_period(body):
    """No schema can say that a period must not end before it begins."""
    if not body.get("study_filter"):
        return body
    open_ended = {**body["study_filter"], "latest": None}
    return body | {"study_filter": open_ended}


@pytest.fixture
def key(transactional_db):
    make_dimse_archive()
    return make_api_client()[1]


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_operation_behaves_as_documented(case, hub, key):
    is_launch = case.operation.label == "POST /api/v1/launches"
    if is_launch and case.meta.generation.mode.is_positive:
        case.body = with_open_period(with_known_names(case.body))
    is_search = case.operation.path.startswith("/api/v1/studies")
    case.call_and_validate(
        base_url=hub.removesuffix("/api/v1"),
        headers={"Authorization": f"Bearer {key}"},
        # No schema can say what is too broad.
        excluded_checks=[positive_data_acceptance] if is_search else [],
    )
