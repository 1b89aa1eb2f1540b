// The official `openai` package, unmodified, where it does not chat: Responses and Embeddings.

import assert from "node:assert/strict";

import OpenAI from "openai";

import {
  ANYWHERE,
  BASE,
  KEY,
  MODEL,
  ONLY_SIM,
  SIM,
  TIME_SCHEMA,
  WEATHER_SCHEMA,
  fails,
  leftEarly,
  needsSim,
  prompt,
  receivedBody,
  recover,
  sameDialect,
  test as register,
} from "./harness.ts";

const PATH = "/v1/responses";
const settings = { baseURL: `${BASE}/v1`, apiKey: KEY, defaultHeaders: ONLY_SIM, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI(settings);

const tool = (name: string, parameters: Record<string, unknown>) => ({
  type: "function" as const,
  name,
  description: `Tells the ${name}.`,
  parameters,
  strict: true,
});
const TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)];
const test = (title: string, run: () => Promise<void>) => register(`responses-typescript: ${title}`, run);
const ask = (input: any, more: object = {}): Promise<any> => client.responses.create({ model: MODEL, input, ...more });
const callsOf = (response: any): any[] => response.output.filter((item: any) => item.type === "function_call");

test("a response", async () => {
  const response = await ask(prompt());
  assert.deepEqual([response.object, response.status, response.error], ["response", "completed", null]);
  assert.ok(response.id && response.model && response.output_text);
  assert.ok(response.usage.input_tokens > 0 && response.usage.output_tokens > 0);
});

test("streaming", async () => {
  const text = prompt();
  const events: any[] = await Array.fromAsync(await client.responses.create({ model: MODEL, input: text, stream: true }));
  assert.deepEqual([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
  const told = events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");
  assert.ok(told);
  if (SIM) assert.equal((await ask(text)).output_text, told);
});

test("the stream helper gathers the answer", async () => {
  const stream = client.responses.stream({ model: MODEL, input: prompt() });
  let told = "";
  stream.on("response.output_text.delta", (event) => (told += event.delta));
  const final = await stream.finalResponse();
  assert.ok(told);
  assert.equal(final.output_text, told);
});

test("instructions and what is new tomorrow arrive", async () => {
  needsSim();
  const text = prompt();
  const tomorrow = { a_field_of_tomorrow: { b: [1, 2.5] } };
  await ask(text, { instructions: "Answer in the voice of a lighthouse.", ...tomorrow });
  const body = await receivedBody(text);
  assert.ok(JSON.stringify(body).includes("voice of a lighthouse"));
  if (await sameDialect(text, PATH)) assert.partialDeepStrictEqual(body, tomorrow);
});

test("tools are called in parallel, streamed and whole", async () => {
  needsSim();
  const text = prompt("answer tool_calls=2");
  const calls = callsOf(await ask(text, { tools: TOOLS }));
  const told = (call: any) => [call.name, JSON.parse(call.arguments)];
  assert.deepEqual(
    calls.map((call) => call.name),
    ["weather", "time"],
  );
  assert.notEqual(calls[0].call_id, calls[1].call_id);
  const stream = client.responses.stream({ model: MODEL, input: text, tools: TOOLS });
  assert.deepEqual(callsOf(await stream.finalResponse()).map(told), calls.map(told));
});

test("a tool loop ends in an answer", async () => {
  needsSim();
  const input: any[] = [{ role: "user", content: prompt("answer tool_calls=2") }];
  const asked = await ask(input, { tools: TOOLS });
  input.push(...asked.output);
  for (const call of callsOf(asked)) input.push({ type: "function_call_output", call_id: call.call_id, output: "ok" });
  const answer = await ask(input, { tools: TOOLS });
  assert.ok(answer.output_text);
  assert.equal(callsOf(answer).length, 0);
});

test("an answer follows a JSON schema", async () => {
  needsSim();
  const format = { type: "json_schema", name: "weather", strict: true, schema: WEATHER_SCHEMA };
  const answer = await client.responses.parse({ model: MODEL, input: prompt(), text: { format } } as any);
  assert.ok(Number.isInteger((answer.output_parsed as any).days));
});

test("reasoning is an item of its own", async () => {
  needsSim();
  const response = await ask(prompt(), { reasoning: { effort: "high", summary: "auto" } });
  const thought = response.output.find((item: any) => item.type === "reasoning");
  assert.ok(thought.summary[0].text && response.output_text);
});

test("texts become vectors", async () => {
  const input = ["the old well", "a night train"];
  const packed = await client.embeddings.create({ model: MODEL, input }, { headers: ANYWHERE });
  const plain = await client.embeddings.create({ model: MODEL, input, encoding_format: "float" }, { headers: ANYWHERE });
  for (const [at, one] of packed.data.entries()) {
    assert.ok(one.embedding.length > 2);
    one.embedding.forEach((number, place) => assert.ok(Math.abs(number - plain.data[at]!.embedding[place]!) < 1e-6));
  }
});

test("errors have the classes of the SDK", async () => {
  const stranger = client.withOptions({ apiKey: "cw-wrong" });
  await fails(OpenAI.AuthenticationError, () => stranger.responses.create({ model: MODEL, input: prompt() }));
  await fails(OpenAI.NotFoundError, () => ask(prompt(), { model: "no-such-model" }));
  await fails(OpenAI.BadRequestError, () => ask([]));
  needsSim();
  try {
    await fails(OpenAI.RateLimitError, () => ask(prompt("status=429 retry_after_s=3")));
  } finally {
    await recover();
  }
});

test("leaving a stream ends the call upstream", async () => {
  const text = prompt("answer characters=100000; drip bytes=400 gap_ms=5");
  const stream = await client.responses.create({ model: MODEL, input: text, stream: true });
  let count = 0;
  for await (const _ of stream) if (++count === 5) break;
  await leftEarly(text);
});
