// Against a service whose address is in SIPXREST: go test ./client runs it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, ProblemError } from "../dist/index.js";

const url = process.env.SIPXREST;
const client = new Client({ url, agent: "201", attempts: 20 });

test("a call from its first event to its end, over cut connections", async () => {
  const from = await client.cursor();
  const stop = new AbortController();
  const all = (async () => {
    const ids = [];
    for await (const event of client.events({ after: from }, { signal: stop.signal })) {
      ids.push(event.id);
      if (event.type === "call.ended") return ids;
    }
  })();
  let cut = true;
  const cutting = new Client({ url, agent: "201", attempts: 20, fetch: async (...request) => {
    const response = await fetch(...request);
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response;
    const reader = response.body.getReader();
    let left = cut ? 700 : Infinity; // bytes, then the connection is lost
    return new Response(new ReadableStream({
      async pull(out) {
        const { done, value } = await reader.read();
        if (done) return out.close();
        if (value.length > left) { out.enqueue(value.slice(0, left)); await reader.cancel(); cut = !cut; return out.error(new TypeError("terminated")); }
        left -= value.length;
        out.enqueue(value);
      },
      cancel: () => reader.cancel(),
    }), response);
  } });
  const call = await client.createCall({ calling: "201", called: "202", tags: { deal: "4711" } });
  const types = [];
  let seq = 0;
  for await (const event of cutting.callEvents(call.id)) {
    assert.equal(event.call_seq, ++seq, "no event is missing or comes twice");
    types.push(event.type);
    if (event.type === "call.connected") assert.equal((await client.hangUp(call.id)).changed, true);
  }
  assert.equal(types[0], "call.created");
  assert.equal(types.at(-1), "call.ended");
  assert.deepEqual(await all, (await client.eventPage({ after: from })).data.map(e => e.id).slice(0, seq));
  stop.abort();
  const some = [];
  for await (const event of client.callEvents(call.id, { type: ["leg.answered"] })) some.push(event.type);
  assert.deepEqual(some, ["leg.answered", "leg.answered", "call.ended"]);
  const found = [];
  for await (const c of client.calls({ tags: { deal: "4711" }, state: ["ended"] })) found.push(c.id);
  assert.deepEqual(found, [call.id]);
  assert.equal((await client.recordOf(call.id)).outcome, "completed");
});

test("refusals are errors with a code", async () => {
  await assert.rejects(client.createCall({ calling: "201", calld: "202" }), error => error instanceof ProblemError &&
    error.code === "invalid_request" && error.status === 400 && error.dialled === "no" && /\/calld/.test(error.message));
  await assert.rejects(client.call("call_00000000000000000000"), { code: "call_not_found" });
  assert.throws(() => new Client({ url: "http://pbx.example", user: "201", pin: "1234" }), TypeError);
});

const problem = (status, body) => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/problem+json" } });

/** A client whose requests get these answers, and the requests. */
function scripted(...answers) {
  const seen = [];
  const fetch = async (target, request) => {
    seen.push({ target, ...request });
    const answer = answers.shift();
    if (answer === undefined) throw new TypeError("fetch failed");
    return answer;
  };
  return { seen, client: new Client({ url: "https://pbx.example/", key: "sxk_a", fetch, attempts: 3 }) };
}

test("an order is repeated with its key", async () => {
  const { client, seen } = scripted(problem(429, { code: "rate_limited", retry_after_ms: 30 }), undefined, new Response('{"id":"call_1"}'));
  assert.equal((await client.createCall({ calling: "201", called: { number: "+49301234567" } })).id, "call_1");
  assert.equal(new Set(seen.map(r => r.headers["Idempotency-Key"])).size, 1);
  assert.equal(seen[0].headers["Authorization"], "Bearer sxk_a");
  assert.equal(seen.length, 3);
});

test("what is not repeated", async () => {
  for (const [ask, answer, code] of [
    [c => c.createWebhook({ name: "a", url: "https://crm.example" }), undefined, undefined],
    [c => c.me(), problem(429, { code: "too_many_wrong_pins", retry_after_ms: 10 }), "too_many_wrong_pins"],
    [c => c.me(), problem(429, { code: "rate_limited", retry_after_ms: 60_000 }), "rate_limited"],
  ]) {
    const { client, seen } = scripted(answer);
    await assert.rejects(ask(client), error => error.code === code);
    assert.equal(seen.length, 1);
  }
});

test("a stream tells of a gap, and goes on", async () => {
  const sse = text => new Response(text, { headers: { "Content-Type": "text/event-stream" } });
  const event = (n, type, more = "") => `id: evt_abc123_1_${n}\nevent: ${type}\ndata: {"id":"evt_abc123_1_${n}","type":"${type}"${more}}\n\n`;
  const { client, seen } = scripted(
    sse(event(1, "call.created") + event(2, "leg.ringing").slice(0, -1)), // its end is missing
    sse(event(1, "call.created") + event(9, "stream.reset", ',"data":{"reason":"cursor_expired"}') + "id: evt_abc123_1_10\n\n"),
    problem(403, { code: "missing_scope" }));
  const types = [];
  await assert.rejects(async () => {
    for await (const e of client.events({ after: "oldest" })) types.push(e.type);
  }, { code: "missing_scope" });
  assert.deepEqual(types, ["call.created", "stream.reset"]);
  assert.deepEqual(seen.map(r => r.headers["Last-Event-ID"]), [undefined, "evt_abc123_1_1", "evt_abc123_1_10"]);
});

test("an aborted signal ends a stream", async () => {
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("enough")), 50);
  await assert.rejects(async () => {
    for await (const _ of client.events({}, { signal: stop.signal }));
  }, { message: "enough" });
});
