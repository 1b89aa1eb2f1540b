"""Runs all cases, or those whose title contains one of the words given."""

import anthropic_cases  # noqa: F401  (registers its cases)
import gemini_cases  # noqa: F401
import ollama_cases  # noqa: F401
import openai_cases  # noqa: F401
import responses_cases  # noqa: F401
import stateful_cases  # noqa: F401
from harness import main

main()
