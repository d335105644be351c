# Thin calls of scripts/house.py, which works without make too: python scripts/house.py demo|test|check
PYTHON ?= python3
PROMPT ?=
quote = '$(subst ','\'',$(1))'

.PHONY: demo test check

demo:
	@$(PYTHON) scripts/house.py demo -- $(call quote,$(value PROMPT))

test:
	@$(PYTHON) scripts/house.py test

check:
	@$(PYTHON) scripts/house.py check
