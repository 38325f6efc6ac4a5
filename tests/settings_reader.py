"""The settings of other environments, each read in a process of its own.

Such a process is forked from one that has Django imported and nothing of the hub, which
takes a fraction of the time of starting Python.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What the settings import, and that takes time.
PRELOADED = (
    *("celery.app", "celery.worker", "kombu.transport.redis"),
    *("csp.constants", "environ", "structlog"),
    *("django.core.signing", "django.db.models", "django.templatetags.static"),
    "django.urls",
)


def read_settings(names: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """These settings with these variables and nothing else of ours; or why they are
    refused, under the key ``refused``."""
    reader = _reader()
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(json.dumps([names, dict(environment)]) + "\n")
    reader.stdin.flush()
    answer: dict[str, Any] = json.loads(reader.stdout.readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


@cache
def _reader() -> subprocess.Popen[str]:
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ
    }
    reader = subprocess.Popen(
        [sys.executable, "-m", "tests.settings_reader"],
        cwd=ROOT,
        env=inherited | {"DJANGO_SETTINGS_MODULE": "viewerhub.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(reader.communicate)  # ends it
    return reader


def _read(names: list[str]) -> dict[str, Any]:
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        return {name: getattr(settings, name) for name in names}
    except ImproperlyConfigured as error:
        return {"refused": str(error)}
    except Exception:
        return {"error": traceback.format_exc()}


def main() -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    assert "viewerhub" not in sys.modules
    for line in sys.stdin:
        names, environment = json.loads(line)
        child = os.fork()
        if not child:
            os.environ.update(environment)
            print(json.dumps(_read(names), default=str), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
