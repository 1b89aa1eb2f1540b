// Runs all cases, or those whose title contains one of the words given.

import "./anthropic_cases.ts";
import "./gemini_cases.ts";
import "./ollama_cases.ts";
import "./openai_cases.ts";
import "./responses_cases.ts";
import "./stateful_cases.ts";
import "./vercel_cases.ts";
import { main } from "./harness.ts";

await main(process.argv.slice(2));
