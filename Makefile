# make run    opens the app on http://localhost:8501 with the drawn example ready
# make test   lint, types and the whole suite, browser tests included
# make check  ruff, the walls between rooms (import-linter) and mypy only
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PORT ?= 8501

.PHONY: run test check lock clean browser

$(VENV)/.installed: requirements.lock requirements-microscopes.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MSIP Lab needs Python 3.11 or newer")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python cannot make a virtual environment here: on Debian, apt install python3-venv"; exit 1; }
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.lock
	# Exact versions beside the lock, which they must not change.
	$(PY) -m pip install --quiet --no-deps -r requirements-microscopes.txt
	# Both cv2 wheels are pinned to one version; the headless files go last, since a bare
	# Debian has no libGL, which the other build links to.
	$(PY) -m pip install --quiet --no-deps --force-reinstall \
	  "$$(sed -n 's/^\(opencv-python-headless==[0-9.]*\).*/\1/p' requirements.lock)"
	touch $@

run: $(VENV)/.installed
	$(PY) -m streamlit run app.py --server.port $(PORT)

BENCHMARKS := arg-type assignment index operator import-not-found

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo --no-cache
	$(VENV)/bin/mypy
	# Commands that only people start must call what is there; what they hand on is checked by it.
	$(VENV)/bin/mypy $(BENCHMARKS:%=--disable-error-code %) benchmarks/*.py

browser: $(VENV)/.installed
	$(PY) tests/browser/install.py

# Folders whose tests are collected without torch: a fork of a process that holds it takes five to
# ten times as long, and these fork for each file of a stranger.
LIGHT := tests/browser tests/campaign tests/cli tests/data tests/pages tests/views tests/runs
# In the order given: long files with few tests would else come last, one after another.
# A test process that dies ends the suite: a new one in its place has left it hanging.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: $(VENV)/.installed check browser
	$(PYTEST) $(LIGHT); light=$$?; $(PYTEST) $(LIGHT:%=--ignore=%) && exit $$light

lock:
	uv pip compile --universal --python-version 3.11 requirements-dev.txt -o requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
