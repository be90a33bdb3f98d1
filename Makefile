# Needs only make and Python 3.11 or newer with venv and pip. Another Python: make PYTHON=python3.12 demo

PYTHON ?= python3
# More than cores, as many tests wait for other processes; a file stays on one, as its tests share a store.
# Browser tests run by themselves: Playwright's event loop and Django's ORM do not go together in one thread.
TEST_PROCESSES ?= 4
# Those that name the marker: each process would collect all the others too, for nothing.
BROWSER_FILES = $(shell grep -rl --include='test_*.py' 'mark\.browser' tests)
PY := .venv/bin/python
UV := .venv/bin/uv
READY := .venv/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# uv works without a home folder, and trusts whom the machine trusts, as pip does.
export UV_NO_CACHE := 1
export UV_SYSTEM_CERTS := 1
# A store is a dozen processes, a test run is hundreds: what each imports is compiled once, whatever the shell says.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

# Values that production accepts, for the checks of a deployment: no service is called.
PRODUCTION := DATABASE_URL=postgresql://store@localhost:1/store DJANGO_DEBUG=0 \
	DJANGO_SECRET_KEY=checks-only-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLM \
	DJANGO_ALLOWED_HOSTS=store.example STORE_ADDRESS=https://store.example STORE_HTTPS=1 STORE_CURRENCY=EUR \
	STRIPE_SECRET_KEY=sk_live_checks STRIPE_PUBLISHABLE_KEY=pk_live_checks STRIPE_WEBHOOK_SECRET=whsec_checks \
	SENDGRID_API_KEY=SG.checks MAIL_FROM=orders@store.example \
	SENDGRID_WEBHOOK_PUBLIC_KEY=MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkuoxbcaRxBp3VOkXoVOny8ITIju7NggxYMMYSZufGMl03pklQm1wR60hL2z0wzwC0QuSOd+3C1tP+VbeC/30iQ==

LOCK := $(UV) pip compile --quiet --universal --generate-hashes

.PHONY: help demo smoke test lint crash-points chaos schedules schedules-long mutants bench bench-guard bench-full \
	bench-peers lock lock-peers clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

demo: $(READY) ## run the whole store on this machine until Ctrl-C
	@exec $(PY) manage.py demo

smoke: $(READY) ## 60 shoppers order in a store of its own, then the money is checked
	@exec $(PY) manage.py demo --orders 60 --exit

test: $(READY) ## all tests, on a PostgreSQL of their own (or on DATABASE_URL); some: make test ARGS=tests/unit
	$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not browser" $(ARGS)
	$(PY) -m pytest -n 2 --dist loadfile -m browser $(or $(ARGS),$(BROWSER_FILES)) || [ $$? = 5 ] # none among ARGS

crash-points: $(READY) ## every crash point, each fault, first and second hit, on real processes: half an hour
	CRASH_POINTS=all $(PY) -m pytest -p no:randomly tests/faults/test_crashes_*.py tests/faults/test_boundaries.py $(ARGS)

lint: $(READY) ## style, types, layers, migrations, settings for production
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	env $(PRODUCTION) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	env $(PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING

DURATION ?= 60
SEED ?= 1

chaos: $(READY) ## everything is killed and fails for DURATION seconds as SEED says, then the books are checked
	@exec $(PY) -m tests.chaos --duration $(DURATION) --seed $(SEED)

schedules: $(READY) ## every order of events of a few actors at the crash points, for three minutes; ARGS=--help
	@exec $(PY) -m tests.schedules --seconds 180 $(ARGS)

schedules-long: $(READY) ## the same for an hour, as deep as that goes
	@exec $(PY) -m tests.schedules --seconds 3600 $(ARGS)

mutants: $(READY) ## one mistake after the other in a copy of the code; each must make a test fail; some: make mutants ARGS=refund
	@$(PY) -m tests.mutants $(ARGS)

bench: $(READY) ## how fast orders, events, pages and payments are, beside their limits; ARGS=--help
	@BENCHMARKS=1 $(PY) -m pytest -q -n 2 tests/integration/test_benchmarks.py
	@$(PY) -m benchmarks $(ARGS)

bench-guard: $(READY) ## fails where orders, relay or readers have become twice as dear, beside PostgreSQL in the same run
	@$(PY) -m benchmarks.guard $(ARGS)

bench-peers: $(READY) ## install the other queues that are measured beside the store: into var/peers, and only there
	@$(PY) -m benchmarks.peers

bench-full: $(READY) ## ten sweeps, a minute of the whole pipeline, the whole store over HTTP, a million orders: hours
	@$(PY) -m benchmarks --sweeps 10 --full --orders 1000000 $(ARGS)

lock: $(UV) ## write the lock files anew from pyproject.toml
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --extra local --extra dev --output-file requirements-dev.lock
	echo uv | $(LOCK) - --no-header --output-file requirements-uv.lock

lock-peers: $(UV) ## write the peers' lock files anew
	cd benchmarks/peers && ../../$(LOCK) --python-version 3.11 requirements.in --output-file requirements.txt
	cd benchmarks/peers && ../../$(LOCK) --python-version 3.11 requirements-brokers.in --output-file requirements-brokers.txt
	cd benchmarks/peers && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund
	cd benchmarks/peers && sed -i '/"funding": {/,/}/d' package-lock.json # addresses that nobody needs

clean: ## remove the virtualenv and all data of demo and tests under var/
	@# As root under a closed folder, the demo's data lies elsewhere, and only a link to it here.
	rm -rf "$$(readlink -f var/demo/postgresql/cluster)"
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-results

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not. Name another: make PYTHON=python3.12 demo" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "Python's venv module is missing (on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }

$(UV): requirements-uv.lock | $(PY)
	$(PY) -m pip install --quiet --require-hashes -r requirements-uv.lock
	@touch $@

# pip is the slower one, but it alone knows the mirror or proxy that pip.conf may name.
$(READY): requirements-dev.lock $(UV)
	$(UV) pip sync --quiet --python $(PY) --require-hashes requirements-dev.lock || \
	  $(PY) -m pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	@touch $@
