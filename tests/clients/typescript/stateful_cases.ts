// The official `openai` package, unmodified, where the daemon keeps what was said: responses, conversations, background.

import assert from "node:assert/strict";

import OpenAI from "openai";

import { BASE, KEY, MODEL, ONLY_SIM, fails, leftEarly, needsDaemon, needsSim, pause, prompt, received, test as register } from "./harness.ts";

const settings = { baseURL: `${BASE}/v1`, apiKey: KEY, defaultHeaders: ONLY_SIM, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI(settings);

// An answer that takes about a second.
const SLOW = "answer characters=400; drip bytes=400 gap_ms=20";

const test = (title: string, run: () => Promise<void>) =>
  register(`stateful-typescript: ${title}`, async () => {
    await needsDaemon();
    await run();
  });
const ask = (input: any, more: object = {}): Promise<any> => client.responses.create({ model: MODEL, input, ...more });
const textOf = (item: any): string => item.content[0].text;

async function ended(response: any): Promise<any> {
  for (let polls = 0; ["queued", "in_progress"].includes(response.status); polls += 1) {
    assert.ok(polls < 600, "it does not end");
    await pause(50);
    response = await client.responses.retrieve(response.id);
  }
  return response;
}

test("a response is retrieved, listed, followed and deleted", async () => {
  const text = prompt();
  const first = await ask(text, { store: true });
  assert.deepEqual([first.store, first.previous_response_id, first.conversation], [true, null, null]);
  assert.deepEqual((await client.responses.retrieve(first.id)).output, first.output);
  const second = await ask("And what else?", { previous_response_id: first.id });
  assert.equal(second.previous_response_id, first.id);
  const items: any[] = await Array.fromAsync(client.responses.inputItems.list(second.id, { order: "asc", limit: 1 }));
  assert.deepEqual(items.map(textOf), [text, first.output_text, "And what else?"]);
  await client.responses.delete(first.id);
  await fails(OpenAI.NotFoundError, () => client.responses.retrieve(first.id));
});

test("what is not there cannot be followed", async () => {
  const error: any = await fails(OpenAI.BadRequestError, () => ask(prompt(), { previous_response_id: "resp_nobody" }));
  assert.equal(error.code, "previous_response_not_found");
  const unkept = await ask(prompt(), { store: false });
  await fails(OpenAI.NotFoundError, () => client.responses.retrieve(unkept.id));
});

test("a conversation holds what is said in it", async () => {
  const text = prompt();
  const begun = await client.conversations.create({ metadata: { topic: "lamps" }, items: [{ role: "user", content: text }] });
  assert.deepEqual([begun.object, begun.metadata], ["conversation", { topic: "lamps" }]);
  const told = await ask("Go on.", { conversation: { id: begun.id } });
  assert.deepEqual(told.conversation, { id: begun.id });
  const added = await client.conversations.items.create(begun.id, { items: [{ role: "user", content: "A note." }] });
  const listed: any[] = await Array.fromAsync(client.conversations.items.list(begun.id, { order: "asc", limit: 2 }));
  assert.deepEqual(listed.map(textOf), [text, "Go on.", told.output_text, "A note."]);
  const note = added.data[0]!.id!;
  assert.equal(textOf(await client.conversations.items.retrieve(note, { conversation_id: begun.id })), "A note.");
  assert.equal((await client.conversations.items.delete(note, { conversation_id: begun.id })).id, begun.id);
  assert.deepEqual((await client.conversations.update(begun.id, { metadata: { topic: "wells" } })).metadata, { topic: "wells" });
  assert.equal((await client.conversations.delete(begun.id)).deleted, true);
  await fails(OpenAI.NotFoundError, () => client.conversations.retrieve(begun.id));
});

test("a response in the background is polled until it is there", async () => {
  const promised = await ask(prompt(), { background: true });
  assert.ok(["queued", "in_progress"].includes(promised.status) && promised.background);
  const response = await ended(promised);
  assert.deepEqual([response.status, response.id], ["completed", promised.id]);
  assert.ok(response.output_text);
});

test("a response in the background is cancelled", async () => {
  needsSim();
  const text = prompt("answer characters=100000; drip bytes=400 gap_ms=20");
  const promised = await ask(text, { background: true });
  while ((await received(text)).length === 0) await pause(50);
  assert.equal((await client.responses.cancel(promised.id)).status, "cancelled");
  await leftEarly(text);
  assert.equal((await client.responses.retrieve(promised.id)).status, "cancelled");
});

test("a dropped stream in the background is resumed where it stopped", async () => {
  needsSim();
  const text = prompt(SLOW);
  const heard: any[] = [];
  for await (const event of await ask(text, { background: true, stream: true })) {
    heard.push(event);
    if (heard.length === 9) break;
  }
  const id = heard[0].response.id;
  const after = heard.at(-1).sequence_number;
  const rest = await client.responses.retrieve(id, { stream: true, starting_after: after });
  heard.push(...(await Array.fromAsync(rest)));
  assert.deepEqual(heard.map((event) => event.sequence_number), heard.map((_, at) => at));
  assert.equal(heard.at(-1).type, "response.completed");
  const told = heard.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");
  assert.equal((await client.responses.retrieve(id)).output_text, told);
  assert.equal((await received(text)).length, 1, "there was a second inference");
  await client.responses.delete(id);
});

test("a detached stream has ids and is read as any other", async () => {
  const messages = [{ role: "user" as const, content: prompt() }];
  const whole = await client.chat.completions.create({ model: MODEL, messages });
  const options = { headers: { "x-commonwatt-detached": "true" } };
  const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true }, options);
  let told = "";
  for await (const chunk of stream) told += chunk.choices[0]?.delta.content ?? "";
  assert.equal(told, whole.choices[0]!.message.content);
});
