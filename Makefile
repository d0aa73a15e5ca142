# Each target sets itself up: a virtual environment in .venv, the package, then the command.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= sess-demo
BENCH ?= sess-bench.json
BENCH_DEVICE ?= cuda
RESULTS ?= sess-results
IMAGENET ?= imagenet_val_sq300
VOC ?= voc2012_100

.PHONY: demo test check format bench bench-engines bench-device results clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/.installed  ## five photographs through Ray to a page
	$(BIN)/sess demo --out $(DEMO)

# the kernels in a process of their own, without what Ray and the readers of datasets load
test: $(VENV)/.installed  ## every test, doctests included
	$(BIN)/python -m pytest --doctest-modules --durations=10 tests/sess_kernels sess_kernels
	$(BIN)/python -m pytest --doctest-modules --durations=10 --ignore=tests/sess_kernels tests pipeline jobs

check: $(VENV)/.installed  ## lint, format, types, layers, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet --doctest-modules sess_kernels pipeline jobs

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed  ## SESS beside its forwards, other libraries, the passes of its methods; on a GPU too
	$(BIN)/sess bench --backbone lite0 torchvision/resnet50 --out $(BENCH)
	@if $(BIN)/python -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; \
	then $(MAKE) bench-device; else echo "no CUDA device: nothing measured on one"; fi

bench-engines: $(VENV)/.installed  ## engine ray beside engine local
	$(BIN)/sess bench --what engines --images 40 --repeats 5 --out $(BENCH)

bench-device: $(VENV)/.installed  ## SESS on a GPU beside its passes, bare and compiled
	$(BIN)/sess bench --what device --device $(BENCH_DEVICE)

# IMAGENET holds images/, labels.csv and boxes.csv, VOC is a folder of PASCAL VOC
REPRODUCE := $(BIN)/sess reproduce
SMALL := --backbone lite0 --runtime openvino
OF_IMAGENET := --data folder:$(IMAGENET)/images --labels $(IMAGENET)/labels.csv \
  --truth "table:$(IMAGENET)/boxes.csv?unit=fraction" $(SMALL)
OF_VOC := --data voc:$(VOC) --class-groups voc20 --metric pointing,corloc,miou $(SMALL)
METHODS := --method gradcam guided-backprop groupcam

results: $(VENV)/.installed  ## docs/results.md again; what is in RESULTS is not made again
	$(REPRODUCE) table1 $(OF_IMAGENET) $(METHODS) \
	  --metric pointing,insertion,max_box_acc,localisation --out $(RESULTS)/imagenet
	$(REPRODUCE) fig5 fig6 theta weights steps $(OF_IMAGENET) --limit 150 --out $(RESULTS)/ablations
	$(REPRODUCE) table3 $(OF_VOC) $(METHODS) --out $(RESULTS)/voc
	$(REPRODUCE) fig6 $(OF_VOC) --out $(RESULTS)/voc
	$(REPRODUCE) table2 $(SMALL) $(METHODS) --limit 2 --out $(RESULTS)/seconds
	$(REPRODUCE) fig7 fig9 fig10 fig11 --backbone lite0 --out $(RESULTS)/pictures
	$(REPRODUCE) --out $(RESULTS) --page docs/results.md

clean:
	rm -rf $(VENV) $(DEMO) $(RESULTS) build dist *.egg-info
