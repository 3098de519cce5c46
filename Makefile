# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test prove lint bench soak system-packages clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
DONE := $(VENV)/.complete
# The JSON Schemas of AsyncAPI, which a test validates our document with. Only npm has them.
ASYNCAPI_PACKAGE := @asyncapi/specs@6.11.1
ASYNCAPI := $(VENV)/asyncapi/package/schemas/3.0.0.json

# What the tests start besides Python: Debian's own builds.
SYSTEM_PACKAGES := rabbitmq-server activemq mercurial openssh-client libnet-stomp-perl libanyevent-rabbitmq-perl \
	perl libdbi-perl libdbd-sqlite3-perl libjson-xs-perl apache2 libapache2-mod-wsgi-py3 zsh fish groff-base \
	prometheus ruby-bunny ruby-stomp debootstrap chromium-headless-shell curl nginx-light iproute2

help:
	@echo "make demo   real pushes arrive as events, and on a board in your browser; no broker needed"
	@echo "make test   everything: installs the brokers if they are missing, then runs all tests"
	@echo "make setup  build $(VENV) with everything, hg included"
	@echo "make lint   ruff and mypy;  make bench  measurements;  make soak  slow runs"

setup: $(DONE)

# A venv that was left half built is built from scratch; one that fits its project file is left alone.
$(DEMO): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sourcepulse needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory venv-package
	@echo "building $(VENV): sourcepulse, Mercurial and the clients of the brokers; this takes about 15 seconds"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[hg,web]'
	@# An editable install compiles nothing, and every hg process would compile the hook again where it may not write.
	@$(BIN)/python -m compileall -q shared hghook
	@touch $@

$(DONE): $(DEMO)
	@echo "adding Buildbot and the tools of the tests to $(VENV); this takes about half a minute"
	@$(BIN)/python -m pip install --quiet --editable '.[hg,buildbot,web]' --group dev
	@$(BIN)/python -m compileall -q buildbot_status bugzilla_extension
	@touch $@

.PHONY: venv-package
venv-package:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >/dev/null; \
	else echo "Python's venv module is missing; install it, on Debian: apt-get install python3-venv" >&2; exit 1; fi

$(ASYNCAPI): $(DONE)
	@command -v npm >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends npm >/dev/null; } || true
	@if command -v npm >/dev/null; then mkdir -p $(VENV)/asyncapi && cd $(VENV)/asyncapi && \
		{ npm pack --silent $(ASYNCAPI_PACKAGE) >/dev/null && tar -xzmf *.tgz && rm *.tgz || \
			echo "npm cannot fetch $(ASYNCAPI_PACKAGE); without it no test validates the AsyncAPI document" >&2; }; \
	else echo "npm is missing; without it no test validates the AsyncAPI document" >&2; fi

demo: $(DEMO)
	@$(BIN)/sourcepulse demo
	@$(BIN)/sourcepulse demo --web

# Without root the tests of a missing part are skipped on a laptop; with CI set they fail.
# RUNLEVEL=1 keeps the packages from starting a service of the system.
system-packages:
	@missing=""; for p in $(SYSTEM_PACKAGES); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
		else echo "missing for the full test:$$missing; install with: apt-get install$$missing" >&2; fi; fi

# How many workers there are is in tests/conftest.py. A broker of a loaded machine now and then does what it may do at any
# time, for example resets a connection. So what failed runs once more after all others, from the beginning of its file's
# fixtures; a test that fails twice is a defect. Where you develop (`.venv/bin/pytest`) and in `make soak` nothing runs again.
# Pytest keeps every module of the tests that it compiled, or each worker would compile all of them in each run.
test soak: export PYTHONDONTWRITEBYTECODE :=
test: setup system-packages $(ASYNCAPI) lint prove
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder || { [ $$? = 1 ] && \
		echo "these failed; they run once more, by themselves" && $(BIN)/pytest -n 2 --dist loadfile --last-failed --maxfail 1; }

# The Perl half of the Bugzilla extension; with BUGZILLA_HOME=DIR in that Bugzilla, else in a fake one.
prove: system-packages
	@if perl -MDBD::SQLite -MJSON::XS -e 1 2>/dev/null; then prove --jobs 2 bugzilla_extension/SourcePulse/t; \
	elif [ -n "$$CI" ]; then echo "Perl's DBD::SQLite or JSON::XS is missing" >&2; exit 1; \
	else echo "skipped: the tests of the Bugzilla extension need Perl's DBD::SQLite and JSON::XS" >&2; fi

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup system-packages
	PYTHONPATH=tests $(BIN)/python -m bench

soak: setup system-packages
	$(BIN)/pytest -m soak -o timeout=3600

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
