// The API at /v1: requests with what the user signed in by, and streams of events.

import {t} from "./texts.js";

const base = new URL("../v1/", import.meta.url);
const kept = "sipxrest-authorization";

// A Problem is why a request was refused, as a problem document says.
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || t("error.status", {status}));
    this.status = status;
    this.code = document.code || "";
    this.document = document;
  }
}

// The header field is kept by this tab only, until it is closed or the user signs out.
let authorization = sessionStorage.getItem(kept) || "";

export const signedIn = () => authorization !== "";

export function useKey(key) { use(`Bearer ${key}`); }

export function usePIN(user, pin) {
  use(`Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${pin}`)))}`);
}

function use(value) {
  authorization = value;
  sessionStorage.setItem(kept, value);
}

export function signOut() {
  authorization = "";
  sessionStorage.removeItem(kept);
}

// refused is called when what the user signed in by is not taken any more.
let refused = () => {};
export function onRefused(does) { refused = does; }

async function send(method, path, {body, headers = {}, signal} = {}) {
  // Without credentials of the browser's own there is no dialog of its own on 401.
  const init = {method, signal, credentials: "omit", cache: "no-store", headers: {Authorization: authorization, ...headers}};
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  const used = authorization;
  let answer;
  try {
    answer = await fetch(new URL(path, base), init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, {detail: t("error.network")});
  }
  if (answer.ok) return answer;
  const document = await answer.json().catch(() => ({}));
  if (answer.status === 401 && used === authorization) refused();
  throw new Problem(answer.status, document);
}

// ask sends a request and returns the document of its answer; null for none.
export async function ask(method, path, body, options = {}) {
  const answer = await send(method, path, {body, ...options});
  return answer.status === 204 ? null : answer.json();
}

// load returns the body of an answer as a file.
export async function load(path, accept, signal) {
  return (await send("GET", path, {headers: accept ? {Accept: accept} : {}, signal})).blob();
}

export const once = () => ({headers: {"Idempotency-Key": `"${crypto.randomUUID()}"`}});

// quiet is how long a stream may say nothing: the service does so each 15 s.
const quiet = 40000;

// follow reads a stream of events until signal, or until it is finished, and goes on
// behind the last event after the connection was lost. With fresh it begins anew
// instead. live is told whether the stream is there; it returns why it has ended.
export async function follow(path, {signal, each, live = () => {}, fresh = false}) {
  let last = "";
  for (let pause = 1000; !signal.aborted; pause = Math.min(pause * 2, 15000)) {
    const cut = new AbortController();
    const stop = () => cut.abort();
    signal.addEventListener("abort", stop);
    let watch = setTimeout(stop, quiet);
    try {
      const headers = {Accept: "text/event-stream"};
      if (last && !fresh) headers["Last-Event-ID"] = last;
      const answer = await send("GET", path, {headers, signal: cut.signal});
      if (answer.status === 204) return;
      live(true);
      for await (const block of blocks(answer.body, () => { clearTimeout(watch); watch = setTimeout(stop, quiet); })) {
        pause = 1000;
        if (block.id) last = block.id;
        if (!block.data) continue;
        const event = JSON.parse(block.data);
        each(event);
        if (event.final && path.startsWith("calls/")) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && [400, 401, 403, 404].includes(error.status)) throw error;
    } finally {
      clearTimeout(watch);
      signal.removeEventListener("abort", stop);
      cut.abort();
    }
    live(false);
    await sleep(pause, signal);
  }
}

// blocks reads server-sent events. What is behind the last empty line is kept for the
// next piece; one block is bounded, so a stream cannot fill the memory of the page.
async function* blocks(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    alive();
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    if (rest.length > 16 << 20) throw new Error("a block without an end");
    for (const part of parts) {
      const block = {id: "", data: ""};
      for (const line of part.split("\n")) {
        if (line.startsWith("id: ")) block.id = line.slice(4);
        else if (line.startsWith("data: ")) block.data += line.slice(6);
      }
      yield block;
    }
  }
}

// sleep waits, for so long or until signal.
export function sleep(ms, signal) {
  return new Promise(resolve => {
    const timer = setTimeout(done, ms);
    function done() { clearTimeout(timer); signal.removeEventListener("abort", done); resolve(); }
    signal.addEventListener("abort", done);
  });
}
