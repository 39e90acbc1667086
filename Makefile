# `make demo` and `make test` do all their set-up themselves; nothing but Python 3.11 and pip is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RELEASE := .venv-release

.PHONY: demo test check docs bench mutants dist sbom audit release-lock tests-lock clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## train on scenes of handwritten digits from tags alone, then open report/index.html
	$(BIN)/getam demo --out report --overwrite

check: $(VENV)/.installed  ## ruff, mypy --strict, docstring examples
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --doctest-modules src/getam -p no:cacheprovider

test: check  ## everything but the slow real-data runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n auto --maxprocesses 4 --dist loadfile

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@

docs: $(VENV)/.docs  ## the site, notebooks run, into docs/_build/html/index.html; a warning is an error
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -n -q -E docs docs/_build/html

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[bench]'
	touch $@

bench: $(VENV)/.bench  ## measure speed and memory beside other libraries, about 20 minutes; ONLY=maps,step for some
	$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY))

mutants: $(VENV)/.installed  ## careless changes the tests notice, slow: ROOM=nets SAMPLE=60 SEED=0 FILES=nets/dpt.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/run.py $(ROOM) $(if $(SAMPLE),--sample $(SAMPLE)) \
		$(if $(SEED),--seed $(SEED)) $(if $(FILES),--files $(FILES))

$(RELEASE)/.installed: release/requirements.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --require-hashes -r $<
	touch $@

dist: $(RELEASE)/.installed  ## wheel and sdist, checked, into dist/
	rm -rf dist build
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(RELEASE)/bin/python -m build --no-isolation
	$(RELEASE)/bin/twine check --strict dist/*.whl dist/*.tar.gz
	$(RELEASE)/bin/python release/contents.py dist

sbom: $(VENV)/.installed $(RELEASE)/.installed  ## what `pip install getam` brings here: dist/getam.cdx.json
	mkdir -p dist
	$(RELEASE)/bin/python release/sbom.py $(BIN)/python dist/getam.cdx.json

audit: $(VENV)/.installed $(RELEASE)/.installed  ## known vulnerabilities of what is installed; asks the package index
	$(RELEASE)/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') --skip-editable

release-lock:  ## the newest versions of the tools above into release/requirements.txt, with hashes; needs uv
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade \
		release/requirements.in --output-file release/requirements.txt

tests-lock:  ## what the tests run on, every version and its hashes, into release/tests.txt; needs uv
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--upgrade --extra dev pyproject.toml --output-file release/tests.txt

clean:
	rm -rf $(VENV) $(RELEASE) dist build docs/_build report .pytest_cache .mypy_cache .ruff_cache .hypothesis
