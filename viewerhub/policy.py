"""The Content Security Policy: strict for users' pages, its own for the admin."""

from __future__ import annotations

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class ContentSecurityPolicy(CSPMiddleware):
    def get_policy_parts(
        self,
        request: HttpRequest,
        response: HttpResponseBase,
        report_only: bool = False,
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        match = request.resolver_match
        if match and match.app_name == "admin" and not report_only:
            parts.replace = {**settings.VIEWERHUB_ADMIN_POLICY, **(parts.replace or {})}
        return parts
