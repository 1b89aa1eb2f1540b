// The official `ollama` package, unmodified, as applications use it.

import assert from "node:assert/strict";

import { Ollama } from "ollama";

import {
  ANYWHERE,
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
  needsSim,
  prompt,
  receivedBody,
  recover,
  test as register,
} from "./harness.ts";

const connect = (key: string) => new Ollama({ host: BASE, headers: { authorization: `Bearer ${key}`, ...ONLY_SIM } });
const client = connect(KEY);

const user = (content: string) => [{ role: "user", content }];
const tool = (name: string, parameters: any) => ({
  type: "function",
  function: { name, description: `Tells the ${name}.`, parameters },
});
const TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)];
const test = (title: string, run: () => Promise<void>) => register(`ollama-typescript: ${title}`, run);
const ask = (text: string, more: object = {}): Promise<any> =>
  client.chat({ model: MODEL, messages: user(text), stream: false, ...more });
const stream = (text: string, more: object = {}) =>
  client.chat({ model: MODEL, messages: user(text), stream: true, ...more });

test("models are listed and shown", async () => {
  const [first] = (await client.list()).models;
  assert.ok((await client.show({ model: first!.model })).capabilities.includes("completion"));
});

test("chatting", async () => {
  const answer = await ask(prompt());
  assert.deepEqual([answer.message.role, answer.done, answer.done_reason], ["assistant", true, "stop"]);
  assert.ok(answer.message.content && answer.prompt_eval_count > 0 && answer.eval_count > 0);
});

test("streaming", async () => {
  const text = prompt();
  const chunks = await Array.fromAsync(await stream(text));
  const told = chunks.map((chunk) => chunk.message.content).join("");
  assert.ok(told && chunks.length > 2 && chunks.at(-1)!.done);
  if (SIM) assert.equal((await ask(text)).message.content, told);
});

test("text is generated", async () => {
  const text = prompt();
  const whole = await client.generate({ model: MODEL, prompt: text });
  const chunks = await Array.fromAsync(await client.generate({ model: MODEL, prompt: text, stream: true }));
  assert.ok(whole.response && whole.done);
  if (SIM) assert.equal(chunks.map((chunk) => chunk.response).join(""), whole.response);
});

test("tools are called in parallel, and a loop ends in an answer", async () => {
  needsSim();
  const text = prompt("answer tool_calls=2");
  const told = (call: any) => [call.function.name, call.function.arguments];
  const message = (await ask(text, { tools: TOOLS })).message;
  assert.deepEqual(
    message.tool_calls.map((call: any) => call.function.name),
    ["weather", "time"],
  );
  const chunks = await Array.fromAsync(await stream(text, { tools: TOOLS }));
  const streamed = chunks.flatMap((chunk) => chunk.message.tool_calls ?? []);
  assert.deepEqual(streamed.map(told), message.tool_calls.map(told));

  const results = message.tool_calls.map((call: any) => ({ role: "tool", tool_name: call.function.name, content: "ok" }));
  const answer = await client.chat({ model: MODEL, messages: [...user(text), message, ...results], tools: TOOLS });
  assert.ok(answer.message.content);
});

test("an answer follows a JSON schema", async () => {
  needsSim();
  const answer = await ask(prompt(), { format: WEATHER_SCHEMA });
  assert.ok(Number.isInteger(JSON.parse(answer.message.content).days));
});

test("an image is passed through", async () => {
  needsSim();
  const text = prompt();
  await ask(text, { messages: [{ role: "user", content: text, images: [PNG] }] });
  assert.ok(JSON.stringify(await receivedBody(text)).includes(PNG));
});

test("thinking is told apart from the answer", async () => {
  needsSim();
  const message = (await ask(prompt(), { think: "high" })).message;
  assert.ok(message.thinking && message.content && !message.content.includes(message.thinking));
});

test("texts become vectors", async () => {
  const anyone = new Ollama({ host: BASE, headers: { authorization: `Bearer ${KEY}`, ...ANYWHERE } });
  const { embeddings } = await anyone.embed({ model: MODEL, input: ["the old well", "a night train"] });
  assert.equal(embeddings.length, 2);
  assert.notDeepEqual(embeddings[0], embeddings[1]);
});

test("errors say their status", async () => {
  const statusOf = async (call: () => Promise<unknown>) => (await fails(Error, call) as any).status_code;
  assert.equal(await statusOf(() => connect("cw-wrong").chat({ model: MODEL, messages: user(prompt()) })), 401);
  assert.equal(await statusOf(() => ask(prompt(), { model: "no-such-model" })), 404);
  needsSim();
  try {
    assert.equal(await statusOf(() => ask(prompt("status=429 retry_after_s=3"))), 429);
  } finally {
    await recover();
  }
});

test("an aborted stream ends the call upstream", async () => {
  const text = prompt("answer characters=100000; drip bytes=400 gap_ms=5");
  const chunks = await stream(text);
  await assert.rejects(
    async () => {
      for await (const _ of chunks) chunks.abort();
    },
    { name: "AbortError" },
  );
  await leftEarly(text);
});
