"""The rules that keep the parts apart, and what must never be committed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = ("archives", "launcher", "viewerhub")

# What a module may not import, by its name or the name of its package.
PURE = (
    "archives.clients",
    "archives.entities",
    "archives.errors",
    "archives.presets",
    "archives.texts",
    "launcher.criteria",
    "launcher.dates",
    "launcher.identifiers",
    "launcher.iid",
    "launcher.legacy_encryption",
    "launcher.manifest",
    "launcher.selections",
    "launcher.signed_links",
    "launcher.template_extras",
    "launcher.template_lines",
    "launcher.viewer_presets",
    "launcher.viewer_values",
    "launcher.viewers",
    "launcher.weasis",
)
FRAMEWORKS = ("django", "celery", "ninja", "allauth", "unfold", "environ")
# Who alone may import a library.
KEEPERS = {
    "pynetdicom": ("archives.clients", "archives.embedded"),
    "pydicom": ("archives.clients", "archives.embedded"),
    "httpx2": ("archives.clients",),
    "httpcore2": ("archives.clients",),
    "lxml": ("launcher.manifest",),
    "numpy": ("archives.clients",),
    "PIL": ("archives.clients",),
}
# What each part of the project may know of the others.
NEIGHBOURS = {
    "archives.entities": (),
    "archives.errors": (),
    "archives.clients": ("archives.clients", "archives.entities", "archives.errors"),
    "archives.embedded": ("archives.embedded",),
    "archives.presets": ("archives.clients", "archives.texts"),
    "archives.texts": (),
    "archives": ("archives",),
    "launcher.weasis": ("archives.entities", "archives.errors", "launcher"),
    "launcher.template_extras": ("launcher",),
    "launcher.template_lines": ("archives.entities", "launcher"),
    "launcher.viewer_presets": ("archives.texts", "launcher"),
    "launcher.viewer_values": ("archives.entities",),
    "launcher.viewers": (
        "archives.entities",
        "archives.errors",
        "archives.texts",
        "launcher",
    ),
    "launcher.manifest": ("archives.entities", "archives.errors", "launcher"),
    "launcher.criteria": ("archives.entities", "archives.errors", "launcher"),
    "launcher.dates": (),
    "launcher.identifiers": ("archives.entities",),
    "launcher.iid": ("launcher.criteria",),
    "launcher.legacy_encryption": (),
    "launcher.selections": ("archives.entities",),
    "launcher.signed_links": (),
    "launcher": ("archives", "launcher"),
}
TOP_LEVEL = {
    ".ci",
    ".dockerignore",
    ".env.example",
    ".gitignore",
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "archives",
    "constraints.txt",
    "docker-compose.yml",
    "docs",
    "launcher",
    "manage.py",
    "pyproject.toml",
    "templates",
    "tests",
    "viewerhub",
}


def modules() -> Iterator[tuple[str, Path]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, path


MODULES = dict(modules())


def imports(module: str) -> set[str]:
    """Everything a module imports anywhere, in functions and for type checkers too."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            found |= {str(ast.literal_eval(node.args[0]))}
    return found


def is_in(name: str, *packages: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in packages)


def committed(*patterns: str) -> list[Path]:
    """Tracked and new files, but none that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(
        [*command, "--", *patterns], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = filter(None, listed.stdout.decode().split("\0"))
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_pure_modules_import_no_framework() -> None:
    assert not [
        (module, name)
        for module in MODULES
        for name in imports(module)
        if is_in(module, *PURE) and is_in(name, *FRAMEWORKS)
    ]


@pytest.mark.parametrize("library", KEEPERS)
def test_library_is_imported_by_its_keepers_only(library: str) -> None:
    assert not [
        (module, name)
        for module in MODULES
        for name in imports(module)
        if is_in(name, library) and not is_in(module, *KEEPERS[library])
    ]


def test_imports_point_one_way() -> None:
    wrong = []
    for module in MODULES:
        rules = [part for part in NEIGHBOURS if is_in(module, part)]
        if rules:
            allowed = NEIGHBOURS[max(rules, key=len)]
            own = [name for name in imports(module) if is_in(name, *APPS)]
            wrong += [(module, name) for name in own if not is_in(name, *allowed)]

    assert not wrong


def test_launcher_sees_the_contract_of_clients_only() -> None:
    parts = {name for name in MODULES if is_in(name, "archives.clients")}
    implementations = parts - {"archives.clients", "archives.clients.base"}

    assert not [
        (module, name)
        for module in MODULES
        for name in imports(module)
        if is_in(module, "launcher") and is_in(name, *implementations)
    ]


def test_rules_see_every_way_of_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import django.http as http\n"
        "from . import sibling\n"
        "from ..errors import ArchiveError\n"
        "def lazily():\n"
        "    from celery import Celery\n"
        "    importlib.import_module('lxml.etree')\n"
    )
    monkeypatch.setitem(MODULES, "archives.clients.module", path)

    assert imports("archives.clients.module") == {
        "django.http",
        "archives.clients.sibling",
        "archives.errors.ArchiveError",
        "celery.Celery",
        "lxml.etree",
    }


def test_top_level_holds_what_it_should() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in committed()}

    assert found == TOP_LEVEL


def test_committed_files_name_no_machine_and_no_package_index() -> None:
    folders = [f"/{name}/" for name in ("root", "work", "home")]
    options = ["-".join(["index", "url"]), "/".join(["pypi.org", "simple"])]
    found = []
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:  # a picture
            continue
        found += [(path.name, word) for word in folders + options if word in text]

    assert not found


def test_templates_escape_everything() -> None:
    # Help texts are ours or Django's, and those on passwords are lists.
    unsafe = re.compile(r"(?<!help_text)\|\s*safe\b|autoescape\s+off|\bsafeseq\b")

    assert not [
        path for path in committed("templates") if unsafe.search(path.read_text())
    ]


def test_templates_load_nothing_from_elsewhere() -> None:
    """The content security policy would block it; a hospital may have no internet."""
    external = re.compile(r"""(?:src|href)=["'](?:https?:)?//""")

    assert not [
        path.name
        for path in committed("templates")
        if re.search(
            r"<(?:script|link|img|iframe)\b[^>]*" + external.pattern, path.read_text()
        )
    ]


def test_styles_know_no_left_and_right() -> None:
    """They are logical (``inline-start``): pages may be read from right to left."""
    physical = re.compile(
        r"(?<![-\w])(?:(?:margin|padding|border)-(?:left|right)\b|(?:left|right)\s*:"
        r"|(?:float|clear|text-align)\s*:\s*(?:left|right)"
        r"|border-(?:top|bottom)-(?:left|right)-radius)"
    )
    four = re.compile(r"(?<![-\w])(?:margin|padding|inset)\s*:([^;}]*)")
    found = []
    for path in committed("viewerhub/static/*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        found += [match[0] for match in physical.finditer(text)]
        for match in four.finditer(text):
            sides = match[1].removesuffix("!important").split()
            if len(sides) == 4 and sides[1] != sides[3] and "(" not in match[1]:
                found.append(match[0])

    assert not found
