# `make demo` and `make test` do all their set-up themselves; nothing but Python 3.11 and pip is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs bench mutants clean

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
	$(BIN)/python -m pytest -m 'not slow'

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

clean:
	rm -rf $(VENV) docs/_build report .pytest_cache .mypy_cache .ruff_cache .hypothesis
