// The official `@google/genai` package, unmodified, as applications use it.

import assert from "node:assert/strict";

import { ApiError, FunctionCallingConfigMode, GoogleGenAI } from "@google/genai";

import {
  BASE,
  KEY,
  MODEL,
  ONLY_SIM,
  PNG,
  SIM,
  TIME_SCHEMA,
  WEATHER_SCHEMA,
  fails,
  leftEarly,
  needsDaemon,
  needsSim,
  prompt,
  receivedBody,
  recover,
  test as register,
} from "./harness.ts";

const connect = (apiKey: string, apiVersion?: string) =>
  new GoogleGenAI({ apiKey, vertexai: false, apiVersion, httpOptions: { baseUrl: BASE, headers: ONLY_SIM } });
const client = connect(KEY, "v1beta");

const tool = (name: string, parametersJsonSchema: unknown) => ({
  name,
  description: `Tells the ${name}.`,
  parametersJsonSchema,
});
const TOOLS = [{ functionDeclarations: [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)] }];
const test = (title: string, run: () => Promise<void>) => register(`gemini-typescript: ${title}`, run);
const ask = (contents: any, config: object = {}) => client.models.generateContent({ model: MODEL, contents, config });
const stream = (contents: any, config: object = {}) =>
  client.models.generateContentStream({ model: MODEL, contents, config });

test("models are listed", async () => {
  assert.ok((await Array.fromAsync(await client.models.list())).length > 0);
});

test("the version that the SDK asks for by itself is answered", async () => {
  // The Python package of the same age says `/v1/models/…`; the simulated provider has only `/v1beta/models/…`.
  await needsDaemon();
  const answer = await connect(KEY).models.generateContent({ model: MODEL, contents: prompt() });
  assert.ok(answer.text);
});

test("content is generated", async () => {
  const answer = await ask(prompt());
  assert.ok(answer.text && answer.responseId && answer.modelVersion);
  assert.equal(answer.candidates![0]!.finishReason, "STOP");
  assert.ok(answer.usageMetadata!.promptTokenCount! > 0 && answer.usageMetadata!.candidatesTokenCount! > 0);
});

test("streaming", async () => {
  const text = prompt();
  const chunks = await Array.fromAsync(await stream(text));
  const told = chunks.map((chunk) => chunk.text ?? "").join("");
  assert.ok(told && chunks.length > 1);
  assert.equal(chunks.at(-1)!.candidates![0]!.finishReason, "STOP");
  if (SIM) assert.equal((await ask(text)).text, told);
});

test("system instructions and limits arrive", async () => {
  needsSim();
  const text = prompt();
  const answer = await ask(text, { systemInstruction: "Answer in the voice of a lighthouse.", maxOutputTokens: 5 });
  assert.equal(answer.candidates![0]!.finishReason, "MAX_TOKENS");
  assert.ok(JSON.stringify(await receivedBody(text)).includes("voice of a lighthouse"));
});

test("functions are called in parallel, streamed and whole", async () => {
  needsSim();
  const text = prompt("answer tool_calls=2");
  const told = (call: any) => [call.name, call.args];
  const calls = (await ask(text, { tools: TOOLS })).functionCalls!;
  assert.deepEqual(
    calls.map((call) => call.name),
    ["weather", "time"],
  );
  const chunks = await Array.fromAsync(await stream(text, { tools: TOOLS }));
  assert.deepEqual(chunks.flatMap((chunk) => chunk.functionCalls ?? []).map(told), calls.map(told));
});

test("a function can be demanded", async () => {
  needsSim();
  const functionCallingConfig = { mode: FunctionCallingConfigMode.ANY, allowedFunctionNames: ["time"] };
  const answer = await ask(prompt(), { tools: TOOLS, toolConfig: { functionCallingConfig } });
  assert.equal(answer.functionCalls![0]!.name, "time");
});

test("a function loop ends in an answer", async () => {
  needsSim();
  const contents: any[] = [{ role: "user", parts: [{ text: prompt("answer tool_calls=2") }] }];
  const asked = await ask(contents, { tools: TOOLS });
  const results = asked.functionCalls!.map(({ id, name }) => ({ functionResponse: { id, name, response: { ok: true } } }));
  contents.push(asked.candidates![0]!.content, { role: "user", parts: results });
  const answer = await ask(contents, { tools: TOOLS });
  assert.ok(answer.text);
  assert.equal(answer.functionCalls, undefined);
});

test("an answer follows a JSON schema", async () => {
  needsSim();
  const answer = await ask(prompt(), { responseMimeType: "application/json", responseJsonSchema: WEATHER_SCHEMA });
  assert.ok(Number.isInteger(JSON.parse(answer.text!).days));
});

test("an image is passed through", async () => {
  needsSim();
  const text = prompt();
  await ask([{ text }, { inlineData: { mimeType: "image/png", data: PNG } }]);
  assert.ok(JSON.stringify(await receivedBody(text)).includes(PNG));
});

test("thoughts are parts of their own and can be handed back", async () => {
  needsSim();
  const text = prompt();
  const config = { thinkingConfig: { includeThoughts: true, thinkingLevel: "HIGH" as any } };
  const content = (await ask(text, config)).candidates![0]!.content!;
  assert.ok(content.parts!.some((part) => part.thought && part.text) && content.parts!.some((part) => !part.thought));
  const contents = [
    { role: "user", parts: [{ text }] },
    content,
    { role: "user", parts: [{ text: "And what else?" }] },
  ];
  assert.ok((await ask(contents, config)).text);
});

test("tokens are counted", async () => {
  const count = async (contents: string) => (await client.models.countTokens({ model: MODEL, contents })).totalTokens!;
  const short = await count("Hello");
  assert.ok(0 < short && short < (await count("Hello ".repeat(500))));
});

test("errors say their status", async () => {
  const wrong = connect("cw-wrong", "v1beta");
  const locked = await fails(ApiError, () => wrong.models.generateContent({ model: MODEL, contents: prompt() }));
  assert.ok([400, 401, 403].includes(locked.status));
  const missing = await fails(ApiError, () =>
    client.models.generateContent({ model: "no-such-model", contents: prompt() }),
  );
  assert.equal(missing.status, 404);
  assert.equal((await fails(ApiError, () => ask([{ role: "wizard", parts: [{ text: "hm" }] }]))).status, 400);
  needsSim();
  try {
    assert.equal((await fails(ApiError, () => ask(prompt("status=429 retry_after_s=3")))).status, 429);
  } finally {
    await recover();
  }
});

test("an aborted stream ends the call upstream", async () => {
  const text = prompt("answer characters=100000; drip bytes=400 gap_ms=5");
  const controller = new AbortController();
  const chunks = await stream(text, { abortSignal: controller.signal });
  await chunks.next();
  controller.abort();
  await assert.rejects(async () => {
    for await (const _ of chunks);
  });
  await leftEarly(text);
});
