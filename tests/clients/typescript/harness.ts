// What the cases share: where everything is, what the simulated provider received, and how cases are run and told.
// The variables BASE, KEY, MODEL, SIM and STRICT are those of ../python/harness.py.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

export const BASE = env("BASE").replace(/\/+$/, "");
export const KEY = env("KEY");
export const MODEL = env("MODEL");
export const SIM = (process.env.SIM ?? "").replace(/\/+$/, "");

// Nobody but the engine is known to make vectors when the model is `auto`.
export const ANYWHERE = { "x-commonwatt-tiers": "frontier,free,local" };
// Whoever answers must be the simulated provider, not the model that the daemon falls back to.
export const ONLY_SIM: Record<string, string> = SIM ? { "x-commonwatt-tiers": "frontier" } : {};

// A red square of 2 by 2 pixels.
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==";

export const WEATHER_SCHEMA = {
  type: "object" as const,
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
export const TIME_SCHEMA = {
  type: "object" as const,
  properties: { zone: { type: "string" } },
  required: ["zone"],
  additionalProperties: false,
};

export type Received = {
  path: string;
  headers: [string, string][];
  body: { text: string };
  outcome: string;
  chunks_sent: number;
};

type Case = { title: string; run: () => Promise<void> };
const cases: Case[] = [];

class Skipped extends Error {}

/** Registers a case. */
export function test(title: string, run: () => Promise<void>): void {
  cases.push({ title, run });
}

/** A prompt that no other call has, so that it can be found again; the directive is for the simulated provider. */
export function prompt(directive = ""): string {
  const text = `Tell me something about lamps. Number ${randomUUID()}.`;
  return directive ? `${text} [[sim: ${directive}]]` : text;
}

export function needsSim(): void {
  if (!SIM) throw new Skipped("no SIM");
}

/** BASE may be the simulated provider itself, which these cases are developed against. */
export async function needsDaemon(): Promise<void> {
  if (!(await fetch(`${BASE}/healthz`)).ok) throw new Skipped("BASE is not a daemon");
}

/** There must be a local model that answers when the provider does not. */
export async function needsEngine(models: string[]): Promise<void> {
  needsSim();
  await needsDaemon();
  if (!models.some((model) => model.startsWith("engine/"))) throw new Skipped("the daemon was built without the engine");
}

/** A model or the other dialect may not have a parameter; then the daemon leaves it out and says so. */
export function arrivedOrNamed(body: any, sent: Record<string, unknown>, headers: Headers): void {
  const lossy = headers.get("x-commonwatt-lossy") ?? "";
  for (const [name, value] of Object.entries(sent)) {
    const arrived = JSON.stringify(body[name]) === JSON.stringify(value);
    assert.ok(arrived || lossy.includes(name), `\`${name}\` was lost, and x-commonwatt-lossy says: ${lossy}`);
  }
}

/** The requests that reached the simulated provider with this prompt, oldest first. */
export async function received(text: string): Promise<Received[]> {
  needsSim();
  const mark = text.split(" [[")[0]!;
  const answer = (await (await fetch(`${SIM}/sim/requests`)).json()) as { requests: Received[] };
  return answer.requests.filter((request) => (request.body.text ?? "").includes(mark));
}

export async function receivedOnce(text: string): Promise<Received> {
  const requests = await received(text);
  assert.equal(requests.length, 1, `the provider received it ${requests.length} times`);
  return requests[0]!;
}

export async function receivedBody(text: string): Promise<any> {
  return JSON.parse((await receivedOnce(text)).body.text);
}

/** Whether the provider was asked in the dialect that the client speaks. */
export async function sameDialect(text: string, path: string): Promise<boolean> {
  return (await receivedOnce(text)).path.split("?")[0] === path;
}

/** Waits until the provider has noticed that nobody listens any more. */
export async function leftEarly(text: string, withinMs = 5000): Promise<Received> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const last = (await received(text)).at(-1);
    if (last && last.outcome !== "playing") {
      assert.equal(last.outcome, "client_left");
      return last;
    }
    assert.ok(Date.now() < deadline, `after ${withinMs} ms the provider is still sending`);
    await pause(50);
  }
}

/** What happens to the next calls; one line for each, such as `status=500` or `pass`. */
export async function script(words: string): Promise<void> {
  needsSim();
  const answer = await fetch(`${SIM}/sim/script`, { method: "POST", body: words });
  assert.equal(answer.status, 200, await answer.text());
}

/** After a fault the daemon skips the provider for a while: waits until it does no longer. */
export async function recover(): Promise<void> {
  if (!SIM) return;
  await script("pass");
  const body = { model: MODEL, messages: [{ role: "user", content: prompt() }], max_tokens: 16 };
  const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json", ...ONLY_SIM };
  const deadline = Date.now() + 60_000;
  for (;;) {
    const answer = await fetch(`${BASE}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
    const told = await answer.text();
    if (answer.ok) return;
    assert.ok(Date.now() < deadline, `the provider is still skipped after a minute: ${told}`);
    await pause(200);
  }
}

/** The error of this class that a call ends in. */
export async function fails<E>(kind: new (...args: any[]) => E, call: () => PromiseLike<unknown>): Promise<E> {
  try {
    await call();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`it was answered, and ${kind.name} was expected`);
}

/** A `fetch` that notes the status of every answer, to see what an SDK does by itself; after the first the provider recovers. */
export function counting(statuses: number[]): typeof fetch {
  return async (...args) => {
    const answer = await fetch(...args);
    statuses.push(answer.status);
    await script("pass");
    return answer;
  };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Runs the registered cases, or those whose title contains one of the words. */
export async function main(words: string[]): Promise<void> {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const { title, run } of cases) {
    if (words.length > 0 && !words.some((word) => title.includes(word))) continue;
    const started = Date.now();
    try {
      await run();
      passed += 1;
      console.log(`ok    ${title} (${((Date.now() - started) / 1000).toFixed(2)} s)`);
    } catch (error) {
      if (error instanceof Skipped) {
        skipped += 1;
        console.log(`skip  ${title}: ${error.message}`);
      } else {
        failed += 1;
        console.log(`FAIL  ${title}: ${error}`);
        console.error(error);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exit(failed > 0 || passed === 0 || (skipped > 0 && process.env.STRICT) ? 1 : 0);
}

function env(name: string): string {
  const value = process.env[name];
  if (value) return value;
  console.error(`the variable ${name} is not set: tests/clients/python/harness.py says what it means`);
  process.exit(1);
}
