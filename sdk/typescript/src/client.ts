import type * as t from "./types.js";
import { type EventQuery, type StreamEvent, follow } from "./events.js";
import { ProblemError } from "./problem.js";
import { backoff, sleep } from "./retry.js";

export interface Config {
  /** Such as `https://pbx.example:6666`; in a browser `""` for the page's own host. */
  url: string;
  /** An API key, `sxk_…`. Never put one into a page. */
  key?: string;
  /** A user's name or alias, and his PIN, sent by Basic: https only. */
  user?: string;
  pin?: string;
  /** On whose behalf: for trusted peers, and keys of several users. */
  agent?: string;
  /** The default is the global one. */
  fetch?: typeof fetch;
  /** How often a request is sent; the default is 5. */
  attempts?: number;
  /** The longest pause between two attempts; the default is 30,000. */
  maxWaitMs?: number;
}

export interface Options {
  signal?: AbortSignal;
  /** Whoever repeats the request with it gets the same answer. The default is random. */
  idempotencyKey?: string;
  /** Refuses a change by `changed_meanwhile` unless the call is at this version. */
  ifVersion?: number;
  /** Puts the answer off until something has changed, 25 s at most. */
  waitSeconds?: number;
  /** What the request is called in the service's log. */
  requestId?: string;
}

export type Query = { [name: string]: unknown };

interface Order { body?: unknown; query?: Query; keyed?: boolean; headers?: { [name: string]: string } }

export class Client {
  readonly #config: Config;

  constructor(config: Config) {
    if (config.key !== undefined && config.user !== undefined) throw new TypeError("sipxrest: key and user exclude each other");
    if (config.user !== undefined && config.url.startsWith("http:")) throw new TypeError("sipxrest: a PIN needs https");
    this.#config = { ...config, url: config.url.replace(/\/+$/, "") };
  }

  /** Places a call. The answer comes once the first phone is called. */
  createCall(call: t.CreateCall, options?: Options) { return this.#ask<t.Call>("POST", ["calls"], options, { body: call, keyed: true }); }
  /** Places a call whose id is yours, so that any process may repeat it. */
  putCall(id: string, call: t.PutCall, options?: Options) { return this.#ask<t.Call>("PUT", ["calls", id], options, { body: call }); }
  /** Says what `createCall` would meet, and calls nobody. */
  checkCall(call: t.CheckCall, options?: Options) { return this.#ask<t.CheckResult>("POST", ["check"], options, { body: call }); }
  call(id: string, options?: Options) { return this.#ask<t.Call>("GET", ["calls", id], options); }
  /** Calls that go on, and those that ended of late, page by page as they are needed. */
  calls(query: t.CallQuery = {}, options?: Options) { return this.#list<t.Call>(["calls"], query, options); }
  patchCall(id: string, patch: t.PatchCall, options?: Options) {
    return this.#ask<t.Call>("PATCH", ["calls", id], options, { body: patch, keyed: true, headers: { "Content-Type": "application/merge-patch+json" } });
  }
  /** Ends a call, whatever it is at. A call that is over is no error. */
  hangUp(id: string, options?: Options) { return this.#ask<t.ActionResult>("DELETE", ["calls", id], options, { keyed: true }); }
  hangUpLeg(id: string, how: t.HangUp, options?: Options) { return this.#act(id, "hangup", how, options); }
  hold(id: string, leg?: string, options?: Options) { return this.#act(id, "hold", { leg }, options); }
  unhold(id: string, leg?: string, options?: Options) { return this.#act(id, "unhold", { leg }, options); }
  mute(id: string, leg?: string, options?: Options) { return this.#act(id, "mute", { leg }, options); }
  unmute(id: string, leg?: string, options?: Options) { return this.#act(id, "unmute", { leg }, options); }
  sendDTMF(id: string, digits: t.SendDTMF, options?: Options) { return this.#act(id, "dtmf", digits, options); }
  redirect(id: string, to: t.Redirect, options?: Options) { return this.#act(id, "redirect", to, options); }
  /** Transfers a call. An event tells what comes of it. */
  transfer(id: string, how: t.CreateTransfer, options?: Options) {
    return this.#ask<t.Transfer>("POST", ["calls", id, "transfers"], options, { body: how, keyed: true });
  }
  transfers(id: string, options?: Options) { return this.#list<t.Transfer>(["calls", id, "transfers"], {}, options); }
  transferById(id: string, transfer: string, options?: Options) { return this.#ask<t.Transfer>("GET", ["calls", id, "transfers", transfer], options); }
  cancelTransfer(id: string, transfer: string, options?: Options) {
    return this.#ask<t.Transfer>("DELETE", ["calls", id, "transfers", transfer], options, { keyed: true });
  }
  completeTransfer(id: string, transfer: string, options?: Options) {
    return this.#ask<t.Transfer>("POST", ["calls", id, "transfers", transfer, "complete"], options, { keyed: true });
  }
  messages(id: string, options?: Options) { return this.#ask<t.MessagePage>("GET", ["calls", id, "messages"], options); }

  me(options?: Options) { return this.#ask<t.Principal>("GET", ["me"], options); }
  users(options?: Options) { return this.#list<t.User>(["users"], {}, options); }
  userByName(name: string, options?: Options) { return this.#ask<t.User>("GET", ["users", name], options); }
  records(query: t.RecordQuery = {}, options?: Options) { return this.#list<t.CallRecord>(["cdrs"], query, options); }
  recordOf(id: string, options?: Options) { return this.#ask<t.CallRecord>("GET", ["cdrs", id], options); }
  /** Records as CSV. Reading the body fails where the export broke off. */
  exportRecords(query: t.ExportQuery = {}, options?: Options): Promise<Response> { return this.#open("GET", ["cdrs.csv"], options, { query }); }
  /** A ticket that opens one stream within 60 s, for a page in a browser. */
  streamTicket(ticket: t.CreateStreamTicket = {}, options?: Options) { return this.#ask<t.StreamTicket>("POST", ["stream-tickets"], options, { body: ticket }); }

  webhooks(options?: Options) { return this.#list<t.Webhook>(["webhooks"], {}, options); }
  createWebhook(hook: t.CreateWebhook, options?: Options) { return this.#ask<t.WebhookWithSecret>("POST", ["webhooks"], options, { body: hook }); }
  webhookById(id: string, options?: Options) { return this.#ask<t.Webhook>("GET", ["webhooks", id], options); }
  patchWebhook(id: string, patch: t.PatchWebhook, options?: Options) { return this.#ask<t.Webhook>("PATCH", ["webhooks", id], options, { body: patch }); }
  deleteWebhook(id: string, options?: Options) { return this.#ask<void>("DELETE", ["webhooks", id], options); }
  rotateSecret(id: string, how: t.RotateSecret = {}, options?: Options) { return this.#ask<t.WebhookRotated>("POST", ["webhooks", id, "rotate-secret"], options, { body: how }); }
  testWebhook(id: string, how: t.TestWebhook = {}, options?: Options) { return this.#ask<t.WebhookTestResult>("POST", ["webhooks", id, "test"], options, { body: how }); }
  enableWebhook(id: string, options?: Options) { return this.#ask<t.Webhook>("POST", ["webhooks", id, "enable"], options); }
  deliveries(id: string, query: t.DeliveryQuery = {}, options?: Options) { return this.#list<t.Delivery>(["webhooks", id, "deliveries"], query, options); }
  replayWebhook(id: string, what: t.ReplayWebhook, options?: Options) { return this.#ask<t.ReplayResult>("POST", ["webhooks", id, "replay"], options, { body: what }); }

  /** Rules of calls that come in. It needs the scope admin, as the two below. */
  inboundRules(options?: Options) { return this.#ask<t.Inbound>("GET", ["inbound", "rules"], options); }
  /** What would become of a call that comes in. There is no call. */
  tryInbound(call: t.TryInbound, options?: Options) { return this.#ask<t.InboundTrial>("POST", ["inbound", "try"], options, { body: call }); }
  health(options?: Options) { return this.#ask<t.Health>("GET", ["health"], options); }

  /** The present place in the stream: an `after` that begins with what happens from now on. */
  async cursor(options?: Options): Promise<string> { return (await this.eventPage({ after: "now", limit: 1 }, options)).next; }
  eventPage(query: t.EventsQuery = {}, options?: Options) { return this.#ask<t.EventPage>("GET", ["events"], options, { query }); }

  /**
   * Follows what happens to calls. A lost connection is opened again where it was, so no
   * event is missing or comes twice. `stream.reset` and `stream.gap` tell of a gap.
   */
  async *events(query: EventQuery = {}, options: Pick<Options, "signal"> = {}): AsyncGenerator<StreamEvent, void, void> {
    // The place is fixed before the stream opens: one that is cut at once loses nothing.
    const after = query.after === undefined && !query.snapshot || query.after === "now" ? await this.cursor(options) : query.after;
    yield* this.#follow(["events"], { ...query, after }, false, options);
  }

  /** Follows one call from its first event, or from `after`, and ends after `call.ended`, whatever the types are. */
  callEvents(id: string, query: Pick<EventQuery, "after" | "type" | "include" | "coalesce"> = {}, options: Pick<Options, "signal"> = {}) {
    const type = query.type?.length ? [...query.type, "call.ended"] : undefined;
    return this.#follow(["calls", id, "events"], { ...query, type }, true, options);
  }

  #follow(path: string[], query: EventQuery, one: boolean, options: Pick<Options, "signal">) {
    return follow((q, headers, signal) => this.#once("GET", path, q, headers, undefined, signal), query, one, this.#config.attempts ?? 5, options.signal);
  }

  #act(id: string, action: string, body: unknown, options?: Options) {
    return this.#ask<t.ActionResult>("POST", ["calls", id, "actions", action], options, { body, keyed: true });
  }

  async #ask<T>(method: string, path: string[], options?: Options, order?: Order): Promise<T> {
    const response = await this.#open(method, path, options, order);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  async *#list<T>(path: string[], query: Query, options?: Options): AsyncGenerator<T, void, void> {
    for (let cursor: string | null = null; ;) {
      const page: { data: T[]; has_more: boolean; next: string | null } =
        await this.#ask("GET", path, options, { query: cursor ? { ...query, cursor } : query });
      yield* page.data;
      if (!page.has_more || !page.next) return;
      cursor = page.next;
    }
  }

  /** Sends a request until it is answered. */
  async #open(method: string, path: string[], options: Options = {}, order: Order = {}): Promise<Response> {
    const headers: { [name: string]: string } = {};
    if (order.keyed) headers["Idempotency-Key"] = randomKey();
    if (options.idempotencyKey !== undefined) headers["Idempotency-Key"] = options.idempotencyKey;
    if (options.ifVersion !== undefined) headers["If-Match"] = `"${options.ifVersion}"`;
    if (options.waitSeconds !== undefined) headers["Prefer"] = `wait=${Math.min(25, Math.floor(options.waitSeconds))}`;
    if (options.requestId !== undefined) headers["X-Request-Id"] = options.requestId;
    const body = order.body === undefined ? undefined : JSON.stringify(order.body);
    if (body !== undefined) headers["Content-Type"] = "application/json";
    Object.assign(headers, order.headers);
    const { attempts = 5, maxWaitMs = 30_000 } = this.#config;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(method, path, order.query ?? {}, headers, body, options.signal);
      } catch (error) {
        if (attempt >= attempts || options.signal?.aborted) throw error;
        let pause = backoff(attempt);
        if (error instanceof ProblemError && !error.unanswered) {
          pause = error.retryAfterMs ?? pause;
          if (!error.passes || pause > maxWaitMs) throw error;
        } else if (!order.keyed && method !== "GET" && method !== "PUT" && method !== "DELETE") {
          throw error; // nobody knows whether the service has seen it
        }
        await sleep(Math.min(pause, maxWaitMs), options.signal);
      }
    }
  }

  /** Sends a request. A refusal is thrown. */
  async #once(method: string, path: string[], query: Query, headers: { [name: string]: string }, body?: string, signal?: AbortSignal): Promise<Response> {
    const { url, key, user, pin, agent } = this.#config;
    const search = parameters(agent !== undefined && query["agent"] === undefined ? { ...query, agent } : query);
    const all: { [name: string]: string } = { ...headers };
    if (key !== undefined) all["Authorization"] = `Bearer ${key}`;
    else if (user !== undefined) all["Authorization"] = `Basic ${base64(`${user}:${pin ?? ""}`)}`;
    const target = `${url}/v1/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
    const response = await (this.#config.fetch ?? fetch)(target, { method, headers: all, body, signal });
    if (!response.ok && response.status !== 304) throw await ProblemError.of(response);
    return response;
  }
}

/** Writes a query: lists as repeated parameters, tags as tag.KEY, times by RFC 3339. */
function parameters(query: Query): string {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null) continue;
    if (name === "tags") {
      for (const [tag, text] of Object.entries(value as { [key: string]: string })) all.append(`tag.${tag}`, text);
    } else if (Array.isArray(value)) {
      for (const v of value) all.append(name, String(v));
    } else {
      all.append(name, value instanceof Date ? value.toISOString() : String(value));
    }
  }
  return all.toString();
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Browsers have randomUUID on secure pages only. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");
}
