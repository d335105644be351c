# Thin calls of scripts/dev.py, which also works without make: python scripts/dev.py --help
PYTHON ?= python3
PROMPT ?=
BENCH ?=
quote = '$(subst ','\'',$(1))'

.PHONY: demo test test-gpu bench bench-test docs check

demo:
	@$(PYTHON) scripts/dev.py demo -- $(call quote,$(value PROMPT))

test:
	@$(PYTHON) scripts/dev.py test

test-gpu:
	@$(PYTHON) scripts/dev.py test-gpu

# Arguments: make bench BENCH="steps decode-32 --repeats 3"
bench:
	@$(PYTHON) scripts/dev.py bench -- $(BENCH)

bench-test:
	@$(PYTHON) scripts/dev.py bench-test

docs:
	@$(PYTHON) scripts/dev.py docs

check:
	@$(PYTHON) scripts/dev.py check
