# The front door. Each target is one line that calls `reportcard` (or a tool); no logic lives here.
PYTHON ?= python3
BIN := .venv/bin
ARGS = $(if $(SUITE),suite=$(SUITE)) $(if $(MODEL),model=$(MODEL)) $(if $(DATASET),dataset=$(DATASET)) \
       $(if $(METRICS),metrics=$(METRICS)) $(if $(LIMIT),limit=$(LIMIT)) $(if $(ENGINE),engine=$(ENGINE)) $(OVERRIDES) $(DOTTED)
# Words with a dot, make benchmark model.weights=/path, are overrides as they stand.
DOTTED = $(foreach word,$(MAKEOVERRIDES),$(if $(findstring .,$(firstword $(subst =, ,$(word)))),'$(word)'))

.DEFAULT_GOAL := help
.PHONY: help setup setup-gpu benchmark test test-engines test-clinical test-browser lint bench validate-labeler audit judge new-model check dashboard serve docs doctor clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo "  variables: MODEL= DATASET= METRICS= LIMIT= SUITE= (comma lists), ENGINE=local|ray, model.weights=… , OVERRIDES='key=value …'"

# The stamp is newer than what it was made from: an unchanged checkout sets up in no time.
$(BIN)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ReportCard needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mlflow,rules,judge,dicom,ray,dev]'
	@touch $@

setup: $(BIN)/.ready ## make .venv with everything that benchmark and test need

$(BIN)/.gpu: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gpu]'
	@touch $@

setup-gpu: $(BIN)/.gpu ## the same with torch and transformers, for models with weights

benchmark: setup ## run the suite over Open-I and phantom (MODEL= DATASET= METRICS= LIMIT= SUITE= ENGINE=)
	@$(BIN)/reportcard run --fetch $(ARGS)

test: setup ## run the test suite (what kills processes for minutes: make test-engines)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/predict/test_engines.py --ignore tests/predict/test_ray.py --ignore tests/model_adapters/ports --deselect tests/test_benchmarks.py::test_ray_engine_runs_in_small

test-engines: setup ## the fault matrix of both engines: replicas, nodes, drivers and disks are lost
	@$(BIN)/python -m pytest tests/predict/test_engines.py tests/predict/test_ray.py tests/test_benchmarks.py::test_ray_engine_runs_in_small

$(BIN)/.clinical: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[clinical,clinical-test,gpu]'
	@touch $@

test-clinical: $(BIN)/.clinical ## parity with f1chexbert, radgraph, bert-score (installs torch)
	@$(BIN)/python -m pytest tests/clinical tests/model_adapters/ports tests/models/test_checkpoints.py tests/core/test_weights.py tests/core/test_fetch_cli.py tests/metrics/test_radcliq.py tests/test_benchmarks.py::test_gpu_runs_in_small

$(BIN)/.browser: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	@command -v chromium chromium-browser google-chrome >/dev/null || apt-get install -y -q chromium || $(BIN)/python -m playwright install chromium
	@touch $@

test-browser: $(BIN)/.browser ## the pages in headless Chromium (installs it where it is absent)
	@$(BIN)/python -m pytest tests/browser

validate-labeler: setup ## the rules labeler against the MeSH tags of Open-I
	@$(BIN)/python -m benchmarks.validate_labeler --root data/openi

lint: setup ## ruff, mypy --strict, the import rule, and no patients' data in the repository
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo && $(BIN)/python .ci/scan.py

bench: setup ## the speed figures, as ratios from one run
	@$(BIN)/python -m benchmarks

audit: setup ## what each metric sees of errors made on purpose
	@$(BIN)/reportcard audit metrics

judge: setup ## a local judge on 127.0.0.1:8103 (GGUF=your-model.gguf)
	@$(BIN)/reportcard judge $(if $(GGUF),--gguf $(GGUF))

new-model: setup ## write an adapter, its YAML and its test (NAME=my_model)
	@$(BIN)/reportcard new-model "$(NAME)"

check: setup ## does a model keep the contract, and look at its image? (MODEL= OVERRIDES=)
	@$(BIN)/reportcard check $(ARGS)

dashboard: setup ## serve the MLflow runs on 127.0.0.1
	@$(BIN)/reportcard dashboard

$(BIN)/.docs: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(BIN)/.docs ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

serve: setup ## the leaderboard on 127.0.0.1:8104
	@$(BIN)/reportcard serve

doctor: setup ## what is here, what is missing
	@$(BIN)/reportcard doctor $(ARGS)

clean: ## remove .venv and caches; results and data stay
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
