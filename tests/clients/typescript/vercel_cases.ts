// Vercel's `ai` with the providers of `@ai-sdk`, unmodified: five ways to say the same, so the same cases for each.

import assert from "node:assert/strict";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import {
  BASE,
  KEY,
  MODEL,
  ONLY_SIM,
  PNG,
  SIM,
  WEATHER_SCHEMA,
  fails,
  leftEarly,
  needsSim,
  prompt,
  received,
  recover,
  test,
} from "./harness.ts";

// Its warnings are about models whose names it does not know.
(globalThis as any).AI_SDK_LOG_WARNINGS = false;

type Way = { model: (name: string, apiKey?: string) => any; thinking: any };
const v1 = (apiKey: string) => ({ baseURL: `${BASE}/v1`, apiKey, headers: ONLY_SIM });
const beta = (apiKey: string) => ({ ...v1(apiKey), baseURL: `${BASE}/v1beta` });
const compatible = (apiKey: string) =>
  createOpenAICompatible({ name: "any", ...v1(apiKey), includeUsage: true, supportsStructuredOutputs: true });

const WAYS: Record<string, Way> = {
  "openai responses": {
    model: (name, key = KEY) => createOpenAI(v1(key)).responses(name),
    thinking: { openai: { reasoningEffort: "high", reasoningSummary: "auto", forceReasoning: true } },
  },
  "openai chat": { model: (name, key = KEY) => createOpenAI(v1(key)).chat(name), thinking: null },
  "openai-compatible": {
    model: (name, key = KEY) => compatible(key)(name),
    thinking: { any: { reasoningEffort: "high" } },
  },
  anthropic: {
    model: (name, key = KEY) => createAnthropic(v1(key))(name),
    thinking: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
  },
  google: {
    model: (name, key = KEY) => createGoogleGenerativeAI(beta(key))(name),
    thinking: { google: { thinkingConfig: { includeThoughts: true, thinkingLevel: "high" } } },
  },
};

const input = { maxRetries: 0, maxOutputTokens: 2000 };
const image = (text: string) => [
  {
    role: "user" as const,
    content: [
      { type: "text" as const, text },
      { type: "image" as const, image: Buffer.from(PNG, "base64"), mediaType: "image/png" },
    ],
  },
];

for (const [name, way] of Object.entries(WAYS)) {
  const model = way.model(MODEL);
  const register = (title: string, run: () => Promise<void>) => test(`vercel ${name}: ${title}`, run);

  register("text is generated, streamed and whole", async () => {
    const text = prompt();
    const whole = await generateText({ ...input, model, prompt: text });
    assert.equal(whole.finishReason, "stop");
    assert.ok(whole.text && whole.usage.inputTokens! > 0 && whole.usage.outputTokens! > 0);
    const stream = streamText({ ...input, model, prompt: text });
    const told = (await Array.fromAsync(stream.textStream)).join("");
    assert.equal(await stream.finishReason, "stop");
    assert.ok((await stream.usage).outputTokens! > 0);
    if (SIM) assert.equal(told, whole.text);
  });

  register("a tool loop ends in an answer", async () => {
    needsSim();
    const cities: string[] = [];
    const weather = tool({
      description: "Tells the weather.",
      inputSchema: jsonSchema<{ city: string; days: number }>(WEATHER_SCHEMA as any),
      execute: async ({ city }) => {
        cities.push(city);
        return "rain";
      },
    });
    const settings = { ...input, model, tools: { weather }, stopWhen: stepCountIs(3) };
    const whole = await generateText({ ...settings, prompt: prompt("answer tool_calls=1") });
    assert.equal(whole.steps.length, 2);
    assert.ok(whole.text && typeof cities[0] === "string");
    const stream = streamText({ ...settings, prompt: prompt("answer tool_calls=1") });
    assert.ok((await Array.fromAsync(stream.textStream)).join(""));
    assert.equal((await stream.steps)[0]!.finishReason, "tool-calls");
    assert.equal(cities.length, 2);
  });

  register("an answer follows a JSON schema", async () => {
    needsSim();
    const output = Output.object({ schema: jsonSchema<{ days: number }>(WEATHER_SCHEMA as any) });
    const answer = await generateText({ ...input, model, prompt: prompt(), output });
    assert.ok(Number.isInteger(answer.output.days));
  });

  register("an image is passed through", async () => {
    needsSim();
    const text = prompt();
    await generateText({ ...input, model, messages: image(text) });
    assert.ok((await received(text))[0]!.body.text.includes(PNG));
  });

  if (way.thinking) {
    register("reasoning is told apart from the answer", async () => {
      needsSim();
      const answer = await generateText({ ...input, model, prompt: prompt(), providerOptions: way.thinking });
      assert.ok(answer.reasoningText && answer.text && !answer.text.includes(answer.reasoningText));
    });
  }

  register("errors say their status", async () => {
    const ask = (other: any, text = prompt()) => generateText({ ...input, model: other, prompt: text });
    const locked = await fails(APICallError, () => ask(way.model(MODEL, "cw-wrong")));
    assert.ok([400, 401, 403].includes(locked.statusCode!));
    assert.equal((await fails(APICallError, () => ask(way.model("no-such-model")))).statusCode, 404);
    needsSim();
    try {
      const error = await fails(APICallError, () => ask(model, prompt("status=429 retry_after_s=3")));
      assert.deepEqual([error.statusCode, error.isRetryable], [429, true]);
    } finally {
      await recover();
    }
  });

  register("an aborted stream ends the call upstream", async () => {
    const text = prompt("answer characters=100000; drip bytes=400 gap_ms=5");
    const controller = new AbortController();
    const settings = { ...input, maxOutputTokens: 50_000, abortSignal: controller.signal, onError: () => {} };
    const stream = streamText({ ...settings, model, prompt: text });
    for await (const _ of stream.textStream) controller.abort();
    await leftEarly(text);
  });
}
