"""Runs all cases, or those whose title contains one of the words given."""

import agents_cases  # noqa: F401  (registers its cases)
from harness import main

main()
