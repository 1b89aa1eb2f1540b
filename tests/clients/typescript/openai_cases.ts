// The official `openai` package, unmodified, as applications use it.

import assert from "node:assert/strict";

import OpenAI from "openai";

import {
  BASE,
  KEY,
  MODEL,
  ONLY_SIM,
  PNG,
  SIM,
  TIME_SCHEMA,
  WEATHER_SCHEMA,
  arrivedOrNamed,
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
  recover,
  sameDialect,
  script,
  test as register,
} from "./harness.ts";

const PATH = "/v1/chat/completions";
const settings = { baseURL: `${BASE}/v1`, apiKey: KEY, defaultHeaders: ONLY_SIM, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI(settings);

const user = (content: string) => [{ role: "user" as const, content }];
const tool = (name: string, parameters: Record<string, unknown>) => ({
  type: "function" as const,
  function: { name, description: `Tells the ${name}.`, parameters },
});
const TOOLS = [tool("weather", WEATHER_SCHEMA), tool("time", TIME_SCHEMA)];
const test = (title: string, run: () => Promise<void>) => register(`openai-typescript: ${title}`, run);
const whole = async (text: string, more: object = {}) =>
  (await client.chat.completions.create({ model: MODEL, messages: user(text), ...more })).choices[0]!;

test("models are listed", async () => {
  const ids = (await Array.fromAsync(client.models.list())).map((model) => model.id);
  assert.ok(ids.length > 0);
});

test("a model is retrieved", async () => {
  await needsDaemon();
  const [first] = await Array.fromAsync(client.models.list());
  assert.equal((await client.models.retrieve(first!.id)).id, first!.id);
});

test("chat", async () => {
  const answer = await client.chat.completions.create({ model: MODEL, messages: user(prompt()) });
  const choice = answer.choices[0]!;
  assert.equal(choice.message.role, "assistant");
  assert.ok(choice.message.content);
  assert.equal(choice.finish_reason, "stop");
  assert.ok(answer.id && answer.model);
  const usage = answer.usage!;
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
});

test("headers say who answered", async () => {
  await needsDaemon();
  const call = client.chat.completions.create({ model: MODEL, messages: user(prompt()) });
  const { data, response } = await call.withResponse();
  assert.ok(data.choices[0]!.message.content);
  assert.ok(response.headers.get("x-commonwatt-deployment"));
  assert.match(response.headers.get("x-commonwatt-tier") ?? "", /^(frontier|free|local)$/);
  assert.equal(response.headers.get("x-commonwatt-attempts"), "1");
});

test("streaming, with usage in the last chunk", async () => {
  const text = prompt();
  const chunks = await Array.fromAsync(
    await client.chat.completions.create({
      model: MODEL,
      messages: user(text),
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  const deltas = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta));
  assert.equal(deltas[0]!.role, "assistant");
  const told = deltas.map((delta) => delta.content ?? "").join("");
  assert.ok(told);
  const last = chunks.at(-1)!;
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage!.prompt_tokens > 0 && last.usage!.completion_tokens > 0);
  if (SIM) assert.equal((await whole(text)).message.content, told);
});

test("the stream helper gathers the answer", async () => {
  const stream = client.chat.completions.stream({ model: MODEL, messages: user(prompt()) });
  let told = "";
  stream.on("content", (delta) => (told += delta));
  const final = await stream.finalChatCompletion();
  assert.ok(told);
  assert.equal(final.choices[0]!.message.content, told);
});

test("many streams at once are kept apart", async () => {
  const one = async () => {
    const stream = await client.chat.completions.create({ model: MODEL, messages: user(prompt()), stream: true });
    let told = "";
    for await (const chunk of stream) told += chunk.choices[0]?.delta.content ?? "";
    return told;
  };
  const told = await Promise.all(Array.from({ length: 8 }, one));
  assert.ok(told.every(Boolean));
  if (SIM) assert.equal(new Set(told).size, 8);
});

test("system prompts and sampling parameters arrive", async () => {
  needsSim();
  const text = prompt();
  const sent = { temperature: 0.25, top_p: 0.75, seed: 11 };
  const tomorrow = { a_field_of_tomorrow: { b: [1, 2.5] } };
  const messages = [{ role: "system" as const, content: "Answer in the voice of a lighthouse." }, ...user(text)];
  const { response } = await client.chat.completions
    .create({ model: MODEL, messages, ...sent, ...tomorrow })
    .withResponse();
  const body = await receivedBody(text);
  assert.ok(JSON.stringify(body).includes("voice of a lighthouse"));
  arrivedOrNamed(body, sent, response.headers);
  if (await sameDialect(text, PATH)) assert.partialDeepStrictEqual(body, tomorrow);
});

test("a stop sequence ends the answer", async () => {
  needsSim();
  const text = prompt();
  const said = (await whole(text)).message.content!;
  const word = said.split(/\s+/)[6]!;
  const cut = await whole(text, { stop: [word, "never said"] });
  assert.equal(cut.message.content, said.slice(0, said.indexOf(word)));
  assert.equal(cut.finish_reason, "stop");
});

test("a token limit ends the answer", async () => {
  needsSim();
  assert.equal((await whole(prompt(), { max_completion_tokens: 5 })).finish_reason, "length");
});

test("tools are called in parallel, streamed and whole", async () => {
  needsSim();
  const text = prompt("answer tool_calls=2");
  const calls = (await whole(text, { tools: TOOLS })).message.tool_calls as any[];
  assert.deepEqual(
    calls.map((call) => call.function.name),
    ["weather", "time"],
  );
  assert.notEqual(calls[0].id, calls[1].id);
  assert.equal(typeof JSON.parse(calls[0].function.arguments).days, "number");

  const stream = client.chat.completions.stream({ model: MODEL, messages: user(text), tools: TOOLS });
  const final = (await stream.finalChatCompletion()).choices[0]!;
  assert.equal(final.finish_reason, "tool_calls");
  const told = (call: any) => [call.function.name, JSON.parse(call.function.arguments)];
  assert.deepEqual((final.message.tool_calls as any[]).map(told), calls.map(told));
});

test("a tool loop ends in an answer", async () => {
  needsSim();
  const messages: any[] = user(prompt("answer tool_calls=2"));
  const asked = (await client.chat.completions.create({ model: MODEL, messages, tools: TOOLS })).choices[0]!.message;
  messages.push(asked);
  for (const call of asked.tool_calls!) messages.push({ role: "tool", tool_call_id: call.id, content: '{"ok":true}' });
  const answer = (await client.chat.completions.create({ model: MODEL, messages, tools: TOOLS })).choices[0]!;
  assert.equal(answer.finish_reason, "stop");
  assert.ok(answer.message.content);
});

test("an answer follows a JSON schema", async () => {
  needsSim();
  const format = { type: "json_schema", json_schema: { name: "weather", strict: true, schema: WEATHER_SCHEMA } };
  const answer = await client.chat.completions.parse({
    model: MODEL,
    messages: user(prompt()),
    response_format: format as any,
  });
  const parsed = answer.choices[0]!.message.parsed as any;
  assert.equal(typeof parsed.city, "string");
  assert.ok(Number.isInteger(parsed.days));
});

test("an image is passed through", async () => {
  needsSim();
  const text = prompt();
  const content = [
    { type: "text" as const, text },
    { type: "image_url" as const, image_url: { url: `data:image/png;base64,${PNG}` } },
  ];
  await client.chat.completions.create({ model: MODEL, messages: [{ role: "user", content }] });
  assert.ok(JSON.stringify(await receivedBody(text)).includes(PNG));
});

test("reasoning is told apart from the answer", async () => {
  needsSim();
  const message = (await whole(prompt(), { reasoning_effort: "high" })).message as any;
  assert.ok(message.content && message.reasoning_content);
});

test("a wrong key is an authentication error", async () => {
  const stranger = client.withOptions({ apiKey: "cw-wrong" });
  const error = await fails(OpenAI.AuthenticationError, () =>
    stranger.chat.completions.create({ model: MODEL, messages: user(prompt()) }),
  );
  assert.deepEqual([error.status, error.code], [401, "invalid_api_key"]);
});

test("an unknown model is a not found error", async () => {
  const error = await fails(OpenAI.NotFoundError, () =>
    client.chat.completions.create({ model: "no-such-model", messages: user(prompt()) }),
  );
  assert.equal(error.code, "model_not_found");
});

test("a wrong request is a bad request error", async () => {
  const error = await fails(OpenAI.BadRequestError, () =>
    client.chat.completions.create({ model: MODEL, messages: [] }),
  );
  assert.equal(error.type, "invalid_request_error");
});

test("leaving a stream ends the call upstream", async () => {
  const text = prompt("answer characters=100000; drip bytes=400 gap_ms=5");
  const stream = await client.chat.completions.create({ model: MODEL, messages: user(text), stream: true });
  let count = 0;
  for await (const _ of stream) if (++count === 5) break;
  assert.ok((await leftEarly(text)).chunks_sent > 0);
});

test("an aborted call ends the call upstream", async () => {
  needsSim();
  const text = prompt("stall after=start");
  const controller = new AbortController();
  const call = client.chat.completions.create(
    { model: MODEL, messages: user(text) },
    { signal: controller.signal },
  );
  const failure = fails(OpenAI.APIUserAbortError, () => call);
  while ((await received(text)).length === 0) await pause(50);
  controller.abort();
  await failure;
  await leftEarly(text);
});

test("a timeout of the client ends the call upstream", async () => {
  needsSim();
  const text = prompt("stall after=start");
  await fails(OpenAI.APIConnectionTimeoutError, () =>
    client.chat.completions.create({ model: MODEL, messages: user(text) }, { timeout: 1000 }),
  );
  await leftEarly(text);
});

test("too many calls are a rate limit error with the wait", async () => {
  needsSim();
  try {
    const error = await fails(OpenAI.RateLimitError, () => whole(prompt("status=429 retry_after_s=3")));
    const wait = Number(error.headers.get("retry-after"));
    assert.ok(wait >= 1 && wait <= 4, `retry-after is ${wait}`);
  } finally {
    await recover();
  }
});

test("the SDK retries by itself after the wait", async () => {
  needsSim();
  const statuses: number[] = [];
  const patient = new OpenAI({ ...settings, maxRetries: 3, fetch: counting(statuses) });
  await script("status=429 retry_after_s=3\ncycle");
  try {
    const answer = await patient.chat.completions.create({ model: MODEL, messages: user(prompt()) });
    assert.ok(answer.choices[0]!.message.content);
    assert.ok(statuses.length >= 2 && statuses[0] === 429 && statuses.at(-1) === 200, `${statuses}`);
  } finally {
    await recover();
  }
});

test("a failing provider is a server error", async () => {
  needsSim();
  try {
    const error = await fails(OpenAI.InternalServerError, () => whole(prompt("status=500")));
    assert.ok(error.status >= 500);
  } finally {
    await recover();
  }
});

test("when the provider fails the next tier answers", async () => {
  await needsEngine((await Array.fromAsync(client.models.list())).map((model) => model.id));
  const everybody = new OpenAI({ ...settings, defaultHeaders: {}, timeout: 120_000 });
  for (const fault of ["status=429", "status=529", "reset after=preamble", "garbage after=headers"]) {
    try {
      const call = everybody.chat.completions.create({
        model: "auto",
        messages: user(prompt(fault)),
        max_tokens: 16,
        stream: true,
      });
      const { data, response } = await call.withResponse();
      const chunks = await Array.fromAsync(data);
      assert.ok(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), fault);
      assert.equal(response.headers.get("x-commonwatt-tier"), "local", fault);
      assert.ok(Number(response.headers.get("x-commonwatt-attempts")) >= 2, fault);
    } finally {
      await recover();
    }
  }
});
