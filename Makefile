# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own .venv.
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
PYTHON ?= python3
# Extras that go into one environment; dmc's mujoco is another.
TOGETHER := mujoco,metaworld,minigrid,xland

.PHONY: demo test test-extras test-oldest test-slow lint format benchmarks clean

# Histories -> pretraining -> in-context evaluation of the frozen model -> report. Killed half-way, it goes on.
demo: $(VENV)/.installed
	$(BIN)/icrl generate --config dark-room-q-learning --out $(DEMO)/data --resume
	$(BIN)/icrl train --config ad-small --data $(DEMO)/data --out $(DEMO)/train --resume
	$(BIN)/icrl evaluate $(DEMO)/train --config demo --out $(DEMO)/eval --resume

# Two processes, a thread each; a file of tests stays in one.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The families over public packages, in the two environments that their conflicts demand.
test-extras: .venv-extras/.installed .venv-dmc/.installed
	ICRL_EXPECTED_EXTRAS=$(TOGETHER) OMP_NUM_THREADS=1 .venv-extras/bin/python -m pytest -n 2 --dist loadfile tests/extras
	ICRL_EXPECTED_EXTRAS=dmc OMP_NUM_THREADS=1 .venv-dmc/bin/python -m pytest -n 2 --dist loadfile tests/extras

test-slow: $(VENV)/.installed-dev .venv-extras/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow
	ICRL_EXPECTED_EXTRAS=$(TOGETHER) OMP_NUM_THREADS=1 .venv-extras/bin/python -m pytest -m slow tests/extras

# The main path under the lowest versions that pyproject.toml declares, in an environment of its own; old libraries warn of
# newer ones among their own dependencies.
test-oldest: .venv-oldest/.installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -W ignore::DeprecationWarning $(OLDEST)
OLDEST := $(addprefix tests/test_,oldest.py main_path.py model_saving.py cache_parity.py backbones.py store.py config.py windows.py \
  parametric.py report.py resolve.py)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each prints its table; run them one at a time, on a quiet machine.
BENCHMARKS := environments vector_envs generation uneven training_throughput rollout shared_cores decision_transformer
benchmarks: $(VENV)/.installed
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

.venv-extras/.installed: EXTRAS := dev,$(TOGETHER)
.venv-dmc/.installed: EXTRAS := dev,dmc
.venv-extras/.installed .venv-dmc/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

.venv-oldest/.installed: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv $(@D)
	$(PYTHON) tests/oldest.py > $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet -c $(@D)/constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-extras .venv-dmc .venv-oldest $(DEMO) build dist *.egg-info
