"""AWS Signature Version 4 as the service checks it: signed again, and compared."""

from __future__ import annotations

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from archives.clients.credentials import AwsKeys
from tests.dicomweb_server import Request


def is_signed(request: Request, keys: AwsKeys) -> bool:
    """Whether the holder of these keys signed the request for this service."""
    query = f"?{request.query}" if request.query else ""
    again = AWSRequest(
        "GET", f"http://{request.headers.get('host', '')}{request.raw_path}{query}"
    )
    moment = request.headers.get("x-amz-date", "")
    again.context["timestamp"] = moment
    again.headers["X-Amz-Date"] = moment
    if keys.session_token:
        again.headers["X-Amz-Security-Token"] = keys.session_token
    credentials = Credentials(keys.access_key_id, keys.secret_access_key)
    signer = SigV4Auth(credentials, keys.service, keys.region)
    text = signer.string_to_sign(again, signer.canonical_request(again))
    scope = f"Credential={signer.scope(again)}, "
    signature = f"Signature={signer.signature(text, again)}"
    sent = request.headers.get("authorization", "")
    return scope in sent and sent.endswith(signature)
