# Everything happens inside the checkout: packages go to .venv/, data to var/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --no-cache-dir
# How many processes run the tests: a number, or auto for one more than processors.
JOBS ?= auto
# More arguments for pytest, such as: make test TESTS="tests/launcher -k manifest"
TESTS ?=

# What production refuses to start without; none of it is used.
RANDOM = $$($(BIN)/python -c "import secrets; print(secrets.token_urlsafe(48))")
PRODUCTION = VIEWERHUB_PRODUCTION=true SECRET_KEY=$(RANDOM) \
	VIEWERHUB_ENCRYPTION_KEYS=$(RANDOM) VIEWERHUB_REDIS_URL=redis://127.0.0.1/0 \
	DATABASE_URL=postgres://127.0.0.1/viewerhub ALLOWED_HOSTS=viewerhub.example.org \
	VIEWERHUB_PUBLIC_URL=https://viewerhub.example.org

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test lint format typecheck \
	messages screenshots constraints clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
		awk 'BEGIN {FS = ":.*## "} {printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Install what the hub needs to run into .venv

install-dev: $(VENV)/.installed-dev ## Install what tests and checks need, too

demo: $(VENV)/.installed ## Start a complete hub with a demo archive; Ctrl-C ends it
	@$(BIN)/python manage.py demo

test: $(VENV)/.installed-dev ## Run the tests (JOBS=2, TESTS="path -k word")
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(VENV)/.installed-dev ## Check style, types, templates, settings and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/djlint --quiet --lint templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

typecheck: $(VENV)/.installed-dev ## Check types only
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Without the date, catalogues change only where texts do.
messages: $(VENV)/.installed ## Collect and compile the texts to translate (needs gettext)
	$(BIN)/python manage.py makemessages --exclude en --no-wrap --no-obsolete \
		--add-location file --ignore tests --ignore var
	sed -i.old '/^"POT-Creation-Date/d' viewerhub/locale/*/LC_MESSAGES/django.po
	rm -f viewerhub/locale/*/LC_MESSAGES/*.old
	$(BIN)/python manage.py compilemessages --ignore $(VENV)

screenshots: $(VENV)/.installed-dev ## Take the pictures of docs/images (needs Chromium)
	$(BIN)/python -m tests.screenshots

constraints: $(VENV)/.installed-dev ## Write constraints.txt anew, with the latest versions
	rm -rf $(VENV)/latest
	$(PYTHON) -m venv $(VENV)/latest
	$(VENV)/latest/bin/python -m pip install --no-cache-dir -r $(VENV)/requirements-dev.txt
	grep '^#' constraints.txt > $(VENV)/constraints.txt
	$(VENV)/latest/bin/python -m pip freeze >> $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean: ## Remove .venv and caches; data in var/ stays
	rm -rf $(VENV) staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The project itself is not installed: it runs from its checkout. pip gets the names of
# its dependencies, which needs no build tools and leaves nothing beside the code.
define DEPENDENCIES
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], sep="\n")
print(*(name for extra in sys.argv[1:] for name in extras[extra]), sep="\n")
endef
export DEPENDENCIES

define PYTHON_CHECK
import sys
if sys.version_info < (3, 11):
    sys.exit("ViewerHub needs Python 3.11 or later, and this is %s. "
             "Name another: make PYTHON=python3.11 ..." % sys.version.split()[0])
endef
export PYTHON_CHECK

$(VENV)/bin/python:
	@$(PYTHON) -c "$$PYTHON_CHECK"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing ViewerHub's packages into $(VENV)/ (about a minute) ..."
	@$(BIN)/python -c "$$DEPENDENCIES" > $(VENV)/requirements.txt
	@$(PIP) install --quiet -c constraints.txt -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the packages of tests and checks ..."
	@$(BIN)/python -c "$$DEPENDENCIES" dev > $(VENV)/requirements-dev.txt
	@$(PIP) install --quiet -c constraints.txt -r $(VENV)/requirements-dev.txt
	@touch $@
