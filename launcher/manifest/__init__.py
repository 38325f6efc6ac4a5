"""The manifest Weasis reads: what is in it, how it is written, and what is taken as one.

Names are case-sensitive, ``httpTag`` comes before ``Patient``, and both spellings of the
additional parameters are sent: Weasis read ``additionnalParameters`` up to 4.6.6 and
``additionalParameters`` since 4.7.0. The grammar is in ``manifest.xsd``.
"""

from launcher.manifest.arc_query import (
    ArcQuery,
    Form,
    Message,
    Severity,
)
from launcher.manifest.ordering import Folded, fold_duplicates, newest_first
from launcher.manifest.rendering import DECLARATION, NAMESPACE, render, render_json
from launcher.manifest.upload import GRAMMAR, ManifestError, check_upload

__all__ = [
    "DECLARATION",
    "GRAMMAR",
    "NAMESPACE",
    "ArcQuery",
    "Folded",
    "Form",
    "ManifestError",
    "Message",
    "Severity",
    "check_upload",
    "fold_duplicates",
    "newest_first",
    "render",
    "render_json",
]
