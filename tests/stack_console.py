"""Executes Python statements that come as lines of JSON; see ``tests.stack.Console``."""

from __future__ import annotations

import json
import sys
import traceback


def main() -> None:
    import django

    django.setup()
    from datetime import timedelta

    from django.contrib.auth.models import User
    from django.utils import timezone

    from archives.models import Archive
    from launcher.models import (
        ApiClient,
        ArchiveOutcome,
        Build,
        Launch,
        LaunchTemplate,
        Viewer,
        ViewerRule,
    )

    models = (
        *(Archive, ApiClient, ArchiveOutcome, Build, Launch, LaunchTemplate),
        *(User, Viewer, ViewerRule),
    )
    names = {model.__name__: model for model in models}
    scope = {**names, "timedelta": timedelta, "timezone": timezone}
    for line in sys.stdin:
        code, variables = json.loads(line)
        scope |= {**variables, "result": None}
        try:
            exec(code, scope)
            answer = json.dumps({"result": scope["result"]})
        except Exception:
            answer = json.dumps({"error": traceback.format_exc()})
        print(answer, flush=True)


if __name__ == "__main__":
    main()
