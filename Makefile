# Thin calls of scripts/dev.py, which also works without make: python scripts/dev.py demo|test|test-gpu|docs|check
PYTHON ?= python3
PROMPT ?=
quote = '$(subst ','\'',$(1))'

.PHONY: demo test test-gpu docs check

demo:
	@$(PYTHON) scripts/dev.py demo -- $(call quote,$(value PROMPT))

test:
	@$(PYTHON) scripts/dev.py test

test-gpu:
	@$(PYTHON) scripts/dev.py test-gpu

docs:
	@$(PYTHON) scripts/dev.py docs

check:
	@$(PYTHON) scripts/dev.py check
