// The official `@anthropic-ai/sdk` package, unmodified, as applications use it.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";

import {
  BASE,
  KEY,
  MODEL,
  ONLY_SIM,
  PNG,
  SIM,
  TIME_SCHEMA,
  WEATHER_SCHEMA,
  counting,
  fails,
  leftEarly,
  needsDaemon,
  needsEngine,
  needsSim,
  pause,
  prompt,
  received,
  receivedBody,
  receivedOnce,
  recover,
  sameDialect,
  script,
  test as register,
} from "./harness.ts";

const PATH = "/v1/messages";
const settings = { baseURL: BASE, apiKey: KEY, defaultHeaders: ONLY_SIM, maxRetries: 0, timeout: 60_000 };
const client = new Anthropic(settings);

const user = (content: string) => [{ role: "user" as const, content }];
const tool = (name: string, input_schema: any) => ({ name, description: `Tells the ${name}.`, input_schema });
const TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)];
const test = (title: string, run: () => Promise<void>) => register(`anthropic-typescript: ${title}`, run);
const ask = (text: string, more: object = {}): Promise<any> =>
  client.messages.create({ model: MODEL, max_tokens: 500, messages: user(text), ...more });

const textOf = (message: any): string =>
  message.content.map((block: any) => (block.type === "text" ? block.text : "")).join("");
const callsOf = (message: any): any[] => message.content.filter((block: any) => block.type === "tool_use");

test("models are listed", async () => {
  assert.ok((await Array.fromAsync(client.models.list())).length > 0);
});

test("a model is retrieved", async () => {
  await needsDaemon();
  const [first] = await Array.fromAsync(client.models.list());
  assert.equal((await client.models.retrieve(first!.id)).id, first!.id);
});

test("chat", async () => {
  const message = await ask(prompt());
  assert.deepEqual([message.type, message.role, message.stop_reason], ["message", "assistant", "end_turn"]);
  assert.ok(message.id && message.model && textOf(message));
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
});

test("headers say who answered", async () => {
  await needsDaemon();
  const call = client.messages.create({ model: MODEL, max_tokens: 500, messages: user(prompt()) });
  const { response } = await call.withResponse();
  assert.ok(response.headers.get("x-commonwatt-deployment"));
  assert.equal(response.headers.get("x-commonwatt-attempts"), "1");
});

test("streaming", async () => {
  const text = prompt();
  const stream = await client.messages.create({ model: MODEL, max_tokens: 500, messages: user(text), stream: true });
  const events = (await Array.fromAsync(stream)).filter((event) => (event.type as string) !== "ping");
  const kinds = events.map((event) => event.type);
  assert.deepEqual(kinds.slice(0, 2), ["message_start", "content_block_start"]);
  assert.deepEqual(kinds.slice(-2), ["message_delta", "message_stop"]);
  const told = events.map((event: any) => event.delta?.text ?? "").join("");
  assert.ok(told);
  if (SIM) assert.equal(textOf(await ask(text)), told);
});

test("the stream helper gathers the answer and its usage", async () => {
  const stream = client.messages.stream({ model: MODEL, max_tokens: 500, messages: user(prompt()) });
  let told = "";
  stream.on("text", (delta) => (told += delta));
  const final = await stream.finalMessage();
  assert.ok(told);
  assert.equal(textOf(final), told);
  assert.equal(final.stop_reason, "end_turn");
  assert.ok(final.usage.input_tokens > 0 && final.usage.output_tokens > 0);
});

test("system prompts and what is new tomorrow arrive", async () => {
  needsSim();
  const text = prompt();
  await client.messages.create(
    {
      model: MODEL,
      max_tokens: 500,
      system: [{ type: "text", text: "Answer in the voice of a lighthouse.", cache_control: { type: "ephemeral" } }],
      messages: user(text),
      a_field_of_tomorrow: { b: [1, 2.5] },
    } as any,
    { headers: { "anthropic-beta": "tomorrow-2027-01-01" } },
  );
  const body = await receivedBody(text);
  assert.ok(JSON.stringify(body).includes("voice of a lighthouse"));
  if (await sameDialect(text, PATH)) {
    assert.deepEqual(body.a_field_of_tomorrow, { b: [1, 2.5] });
    assert.deepEqual(body.system[0].cache_control, { type: "ephemeral" });
    const headers = Object.fromEntries((await receivedOnce(text)).headers);
    assert.equal(headers["anthropic-beta"], "tomorrow-2027-01-01");
  }
});

test("a stop sequence ends the answer", async () => {
  needsSim();
  const text = prompt();
  const said = textOf(await ask(text));
  const same = await sameDialect(text, PATH);
  const word = said.split(/\s+/)[6]!;
  const cut = await ask(text, { stop_sequences: [word, "never said"] });
  assert.equal(textOf(cut), said.slice(0, said.indexOf(word)));
  if (same) assert.deepEqual([cut.stop_reason, cut.stop_sequence], ["stop_sequence", word]);
});

test("a token limit ends the answer", async () => {
  needsSim();
  assert.equal((await ask(prompt(), { max_tokens: 5 })).stop_reason, "max_tokens");
});

test("tools are called in parallel, streamed and whole", async () => {
  needsSim();
  const text = prompt("answer tool_calls=2");
  const message = await ask(text, { tools: TOOLS });
  const calls = callsOf(message);
  assert.equal(message.stop_reason, "tool_use");
  assert.deepEqual(
    calls.map((call) => call.name),
    ["weather", "time"],
  );
  assert.notEqual(calls[0].id, calls[1].id);
  assert.equal(typeof calls[0].input.days, "number");

  const stream = client.messages.stream({ model: MODEL, max_tokens: 500, messages: user(text), tools: TOOLS });
  const told = (call: any) => [call.name, call.input];
  assert.deepEqual(callsOf(await stream.finalMessage()).map(told), calls.map(told));
});

test("a tool loop ends in an answer", async () => {
  needsSim();
  const messages: any[] = user(prompt("answer tool_calls=2"));
  const asked = await client.messages.create({ model: MODEL, max_tokens: 500, messages, tools: TOOLS });
  messages.push({ role: "assistant", content: asked.content });
  const results = callsOf(asked).map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "ok" }));
  messages.push({ role: "user", content: results });
  const answer = await client.messages.create({ model: MODEL, max_tokens: 500, messages, tools: TOOLS });
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(textOf(answer));
});

test("an answer follows a JSON schema", async () => {
  needsSim();
  const message = await ask(prompt(), { output_config: { format: { type: "json_schema", schema: WEATHER_SCHEMA } } });
  const parsed = JSON.parse(textOf(message));
  assert.equal(typeof parsed.city, "string");
  assert.ok(Number.isInteger(parsed.days));
});

test("an image is passed through", async () => {
  needsSim();
  const text = prompt();
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } };
  const content = [image, { type: "text", text }] as any;
  await client.messages.create({ model: MODEL, max_tokens: 500, messages: [{ role: "user", content }] });
  assert.ok(JSON.stringify(await receivedBody(text)).includes(PNG));
});

test("thinking is a block of its own and can be handed back", async () => {
  needsSim();
  const text = prompt();
  const more = { max_tokens: 2000, thinking: { type: "enabled", budget_tokens: 1024 } };
  const message = await ask(text, more);
  const block = message.content.find((block: any) => block.type === "thinking");
  assert.ok(block?.thinking && textOf(message));
  const messages = [
    ...user(text),
    { role: "assistant", content: message.content },
    { role: "user", content: "And what else?" },
  ];
  assert.ok(textOf(await ask(text, { ...more, messages })));
});

test("tokens are counted", async () => {
  const count = async (content: string) =>
    (await client.messages.countTokens({ model: MODEL, messages: user(content) })).input_tokens;
  const short = await count("Hello");
  const long = await count("Hello ".repeat(500));
  assert.ok(0 < short && short < long);
});

test("a wrong key is an authentication error", async () => {
  const stranger = client.withOptions({ apiKey: "cw-wrong" });
  const error = await fails(Anthropic.AuthenticationError, () =>
    stranger.messages.create({ model: MODEL, max_tokens: 9, messages: user(prompt()) }),
  );
  assert.deepEqual([error.status, error.type], [401, "authentication_error"]);
});

test("an unknown model is a not found error", async () => {
  const error = await fails(Anthropic.NotFoundError, () => ask(prompt(), { model: "no-such-model" }));
  assert.equal(error.type, "not_found_error");
});

test("a wrong request is a bad request error", async () => {
  const error = await fails(Anthropic.BadRequestError, () => ask("", { messages: [] }));
  assert.equal(error.type, "invalid_request_error");
});

test("leaving a stream ends the call upstream", async () => {
  const text = prompt("answer characters=100000; drip bytes=400 gap_ms=5");
  const stream = client.messages.stream({ model: MODEL, max_tokens: 50_000, messages: user(text) });
  let count = 0;
  for await (const _ of stream) if (++count === 5) break;
  assert.ok((await leftEarly(text)).chunks_sent > 0);
});

test("an aborted call ends the call upstream", async () => {
  needsSim();
  const text = prompt("stall after=start");
  const controller = new AbortController();
  const failure = fails(Anthropic.APIUserAbortError, () =>
    client.messages.create({ model: MODEL, max_tokens: 9, messages: user(text) }, { signal: controller.signal }),
  );
  while ((await received(text)).length === 0) await pause(50);
  controller.abort();
  await failure;
  await leftEarly(text);
});

test("a timeout of the client ends the call upstream", async () => {
  needsSim();
  const text = prompt("stall after=start");
  await fails(Anthropic.APIConnectionTimeoutError, () =>
    client.messages.create({ model: MODEL, max_tokens: 9, messages: user(text) }, { timeout: 1000 }),
  );
  await leftEarly(text);
});

test("too many calls are a rate limit error with the wait", async () => {
  needsSim();
  try {
    const error = await fails(Anthropic.RateLimitError, () => ask(prompt("status=429 retry_after_s=3")));
    assert.equal(error.type, "rate_limit_error");
    const wait = Number(error.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 4, `retry-after is ${wait}`);
  } finally {
    await recover();
  }
});

test("the SDK retries by itself after the wait", async () => {
  needsSim();
  const statuses: number[] = [];
  const patient = new Anthropic({ ...settings, maxRetries: 3, fetch: counting(statuses) });
  await script("status=429 retry_after_s=3\ncycle");
  try {
    const message = await patient.messages.create({ model: MODEL, max_tokens: 500, messages: user(prompt()) });
    assert.ok(textOf(message));
    assert.ok(statuses.length >= 2 && statuses[0] === 429 && statuses.at(-1) === 200, `${statuses}`);
  } finally {
    await recover();
  }
});

test("a failing provider is a server error", async () => {
  needsSim();
  try {
    const error = await fails(Anthropic.InternalServerError, () => ask(prompt("status=500")));
    assert.ok(error.status >= 500);
  } finally {
    await recover();
  }
});

test("when the provider fails the next tier answers", async () => {
  await needsEngine((await Array.fromAsync(client.models.list())).map((model) => model.id));
  const everybody = new Anthropic({ ...settings, defaultHeaders: {}, timeout: 120_000 });
  for (const fault of ["status=500", "status=529", "error after=preamble", "empty"]) {
    try {
      const call = everybody.messages.create({ model: "auto", max_tokens: 16, messages: user(prompt(fault)) });
      const { data, response } = await call.withResponse();
      assert.ok(textOf(data), fault);
      assert.equal(response.headers.get("x-commonwatt-tier"), "local", fault);
      assert.ok(Number(response.headers.get("x-commonwatt-attempts")) >= 2, fault);
    } finally {
      await recover();
    }
  }
});
