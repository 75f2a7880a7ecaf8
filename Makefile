# One command each: `make demo`, `make test`, `make check`. Needs Python >= 3.11 and make; all else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MEMTORCH := $(VENV)/.memtorch
SUPPLY := .supply
# Extras whose packages are locked, all but `attacks`.
LOCKED := dev dask parquet memtorch fast onnx xlsx
FLOORS := .floors
TORCH ?=
WORKERS ?= 2

# Studies that reproduce published tables and figures: `make reproduce` runs them, `make tables` fills these pages.
TABLED := batmann_endtoend batmann_ablation batmann_sharpening_fc batmann_mnist binact_mnist binact_fewshot \
  binact_omniglot bitnet_accuracy metaplastic_tasks benn_small
REPRODUCED := $(TABLED) batmann_fgsm batmann_tsne batmann_variation batmann_variation_aware batmann_placement \
  batmann_layers natcomm_chips natcomm_variation natcomm_stuck natcomm_dimension encodings encodings_bits \
  converter_limits memory_refinements memory_refresh binact_variation binact_levels binact_adc binact_neurons binact_fewshot_variation \
  bitnet_steps bitnet_variation bitnet_read_noise bitnet_converters metaplastic_stages metaplastic_variation benn_votes \
  effect_adc effect_drift effect_read_noise effect_sigma effect_spread effect_stuck effect_wires ten_thousand_chips memtorch_agreement \
  cost_encodings cost_memory cost_spread
PAGES := docs/batmann.md docs/binary_activations.md docs/bitnet.md docs/metaplastic.md docs/benn.md
# Trained before their study runs, in runs/: weights too large to come along, about two hours on one core.
CLASSIFIERS := $(addprefix binact_omniglot_,2a_nonbinary 2a_block2 2a_block3 2a_block4 2b_nonbinary 2b_block1)
# Cards whose training curves are tables of docs/metaplastic.md.
FORGETTING := $(addprefix metaplastic_small_,m0 m1_35 m5 m10 m25 ewc si random float_m0 float_m10)
FORGETTING_WIDTHS := $(addprefix metaplastic_small_,width128_m0 width128_m10 width256_m0 width256_m10 m0 m10 \
  width1024_m0 width1024_m10 interleaved_m0 interleaved_m10)
FORGETTING_SETS := $(addprefix metaplastic_small_,mnist_fmnist_m0 mnist_fmnist_m10 fmnist_mnist_m0 fmnist_mnist_m10)
FORGETTING_USPS := $(addprefix metaplastic_small_,mnist_usps_m0 mnist_usps_m1_2 mnist_usps_m10)
FORGETTING_FEATURES := $(addprefix metaplastic_small_cifar10_features_,m0 m1_8 m5 m10 m25)
FORGETTING_FEATURES_FULL := $(addprefix metaplastic_cifar10_features_,m0 m1_8)
FORGETTING_STREAM := $(addprefix metaplastic_small_,stream_m0 stream_m10 stream_whole_m0 stream_whole_m10)

.DEFAULT_GOAL := help
.PHONY: help venv memtorch demo reproduce tables test fuzz torture isa check floors format benchmark bench-peers lock lock-check audit sbom clean

help:
	@echo "make demo       a shipped controller on simulated RRAM chips: table, figure, report (under 3 minutes)"
	@echo "make reproduce  every published table and figure, from the shipped weights (about ten minutes a study)"
	@echo "make tables     writes the tables of make reproduce into docs/"
	@echo "make test       the whole suite (under 15 minutes on two cores)"
	@echo "make isa        the numerical tests on AVX2 and on the machine's best, one thread and two (half an hour)"
	@echo "make check      format, lint, types, layers and the fast tests (under 3 minutes)"
	@echo "make floors     the fast tests with the lowest versions that pyproject.toml allows (about ten minutes)"
	@echo "make memtorch   the second engine, compiled once (part of make test; docs/memtorch.md)"
	@echo "make fuzz       bad files of every kind: errors without a place, tracebacks, hangs (half an hour)"
	@echo "make torture    kills, power cuts, full disks, several runs of one folder (about six minutes)"
	@echo "make format     fix formatting and what ruff can fix"
	@echo "make benchmark  speed against plain torch, as a table"
	@echo "make bench-peers  this package beside other simulators, each installed in an environment under .peers/"
	@echo "make lock       the hashes of the versions of constraints.txt (requirements.lock); make lock-check compares both"
	@echo "make audit      known vulnerabilities of these versions; fails where the database cannot be reached"
	@echo "make sbom       the components of a release in CycloneDX (dist/sbom.cdx.json)"
	@echo "make clean      remove caches and build outputs (.venv, results/ and runs/ stay)"
	@echo "Each builds .venv first, once. Another Python: make PYTHON=python3.12 demo"

venv: $(STAMP)

# Built anew whenever one of the two files that describe it changes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "imc_sim needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)" >&2; \
	  echo "Install one, then name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Building $(VENV) (downloads PyTorch and its companions; minutes on a first run) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,dask,parquet,memtorch,fast]'
	@echo "Compiling the products of whole numbers (15 seconds), so that no first run has to ..."
	@$(BIN)/python -c 'from imc_sim.array import compile_kernels; compile_kernels()'
	@touch $(STAMP)

memtorch: $(MEMTORCH)

$(MEMTORCH): $(STAMP)
	@.ci/memtorch $(BIN)/python
	@touch $(MEMTORCH)

demo: $(STAMP)
	@echo "Running the quick start: variation of the cells against accuracy (under 3 minutes on two cores) ..."
	$(BIN)/imc-sim run quickstart

# One study after the other; what is stored is not run again, so that the same command goes on after a stop.
reproduce: $(STAMP)
	@set -e; for model in $(CLASSIFIERS); do test -f runs/$$model/model.yaml || $(BIN)/imc-sim train $$model --resume; done
	@set -e; for study in $(REPRODUCED); do echo "$$study"; $(BIN)/imc-sim run $$study --out results/$$study; done
	$(BIN)/imc-sim plot results/batmann_tsne --kind tsne

tables: $(STAMP)
	$(BIN)/imc-sim report $(patsubst %/comparison.csv,%,$(wildcard $(TABLED:%=results/%/comparison.csv))) $(PAGES:%=--page %)
	$(BIN)/imc-sim show forgetting $(FORGETTING) --out results/metaplastic_small --page docs/metaplastic.md
	$(BIN)/imc-sim show forgetting $(FORGETTING_SETS) --out results/metaplastic_sets --page docs/metaplastic.md
	$(BIN)/imc-sim show forgetting $(FORGETTING_WIDTHS) --out results/metaplastic_widths --page docs/metaplastic.md
	$(BIN)/imc-sim show forgetting $(FORGETTING_USPS) --out results/metaplastic_usps --page docs/metaplastic.md
	$(BIN)/imc-sim show forgetting $(FORGETTING_FEATURES) --out results/metaplastic_features --page docs/metaplastic.md
	$(BIN)/imc-sim show forgetting $(FORGETTING_FEATURES_FULL) --out results/metaplastic_features_full --page docs/metaplastic.md
	$(BIN)/imc-sim show forgetting $(FORGETTING_STREAM) --out results/metaplastic_stream --page docs/metaplastic.md

test: $(STAMP)
	@$(MAKE) --no-print-directory memtorch || echo "MemTorch could not be built here: its tests will be skipped" >&2
	@echo "Running the whole suite with $(WORKERS) workers (under 15 minutes on two cores) ..."
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10

# Which instructions torch, MKL, oneDNN and numba use changes how float sums are rounded; no test may depend on it.
isa: $(STAMP)
	@echo "Running the numerical tests on several instruction sets (half an hour) ..."
	$(BIN)/python tests/isa.py

check: $(STAMP)
	@echo "Checking format, lint, types, layers and the fast tests (under 3 minutes on two cores) ..."
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

# The floors of pyproject.toml, installed exactly. A pass is recorded in .ci/floors.tested; commit that file, and CI runs
# this only after the floors or constraints.txt changed. Another torch: make floors TORCH=torch==2.13.0
floors: $(STAMP)
	@echo "Installing the lowest versions of pyproject.toml under $(FLOORS)/ and running the fast tests with them ..."
	@test -x $(FLOORS)/bin/python || $(BIN)/python -m venv $(FLOORS)
	$(BIN)/python .ci/floors.py $(TORCH) > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip install --disable-pip-version-check -c $(FLOORS)/constraints.txt \
	  -e '.[dask,parquet,fast,onnx,xlsx]' pytest pytest-xdist hypothesis beartype jsonschema hatchling import-linter
	PATH="$(CURDIR)/$(FLOORS)/bin:$$PATH" $(FLOORS)/bin/python -m pytest -n $(WORKERS) --dist worksteal \
	  -m "not slow" -o filterwarnings=ignore
	@$(BIN)/python .ci/floors.py --record

fuzz: $(STAMP)
	@echo "Trying twenty thousand bad inputs (about half an hour) ..."
	IMC_SIM_FUZZ=50 $(BIN)/python -m pytest -q tests/fuzz

torture: $(STAMP)
	@echo "Killing runs, cutting the power, filling the disk (about six minutes; needs Linux and a C compiler) ..."
	$(BIN)/python -m tests.torture.driver

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(STAMP)
	@echo "Timing against plain torch (some minutes; leave the machine alone meanwhile) ..."
	@set -e; for script in benchmarks/[a-z]*.py; do echo "$$script"; $(BIN)/python "$$script"; done

bench-peers: $(STAMP)
	@echo "Installing the peers under .peers/ and timing them (half an hour; leave the machine alone meanwhile) ..."
	$(BIN)/python benchmarks/peers/run.py

# Tools that look at the pinned versions, in an environment without the project: they run none of its code.
$(SUPPLY)/bin/uv:
	@$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --disable-pip-version-check -q uv cyclonedx-bom pip-audit

lock: $(SUPPLY)/bin/uv
	@printf '%s\n' '# The versions of constraints.txt with the SHA-256 of their files on PyPI, for Linux, macOS and Windows, by `make lock`.' \
	  '# pip install --require-hashes -r requirements.lock; torch is the build of PyPI (CUDA on Linux), not a CPU build.' \
	  > requirements.lock.new
	echo editables | $(SUPPLY)/bin/uv pip compile pyproject.toml - $(LOCKED:%=--extra %) -c constraints.txt \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -q \
	  >> requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@$(MAKE) --no-print-directory lock-check

lock-check:
	@$(PYTHON) .ci/supply.py --lock

audit: $(SUPPLY)/bin/uv
	@$(SUPPLY)/bin/pip-audit -r requirements.lock --require-hashes --disable-pip --progress-spinner off -f json \
	  | $(PYTHON) .ci/supply.py --audit

sbom: $(SUPPLY)/bin/uv
	@mkdir -p dist
	PYTHONWARNINGS=ignore $(SUPPLY)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON \
	  -o dist/sbom.cdx.json

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache *.egg-info
	find imc_sim tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
