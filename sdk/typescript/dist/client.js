import { follow } from "./events.js";
import { ProblemError } from "./problem.js";
import { backoff, sleep } from "./retry.js";
export class Client {
    #config;
    constructor(config) {
        if (config.key !== undefined && config.user !== undefined)
            throw new TypeError("sipxrest: key and user exclude each other");
        if (config.user !== undefined && config.url.startsWith("http:"))
            throw new TypeError("sipxrest: a PIN needs https");
        this.#config = { ...config, url: config.url.replace(/\/+$/, "") };
    }
    /** Places a call. The answer comes once the first phone is called. */
    createCall(call, options) { return this.#ask("POST", ["calls"], options, { body: call, keyed: true }); }
    /** Places a call whose id is yours, so that any process may repeat it. */
    putCall(id, call, options) { return this.#ask("PUT", ["calls", id], options, { body: call }); }
    /** Says what `createCall` would meet, and calls nobody. */
    checkCall(call, options) { return this.#ask("POST", ["check"], options, { body: call }); }
    call(id, options) { return this.#ask("GET", ["calls", id], options); }
    /** Calls that go on, and those that ended of late, page by page as they are needed. */
    calls(query = {}, options) { return this.#list(["calls"], query, options); }
    patchCall(id, patch, options) {
        return this.#ask("PATCH", ["calls", id], options, { body: patch, keyed: true, headers: { "Content-Type": "application/merge-patch+json" } });
    }
    /** Ends a call, whatever it is at. A call that is over is no error. */
    hangUp(id, options) { return this.#ask("DELETE", ["calls", id], options, { keyed: true }); }
    hangUpLeg(id, how, options) { return this.#act(id, "hangup", how, options); }
    hold(id, leg, options) { return this.#act(id, "hold", { leg }, options); }
    unhold(id, leg, options) { return this.#act(id, "unhold", { leg }, options); }
    mute(id, leg, options) { return this.#act(id, "mute", { leg }, options); }
    unmute(id, leg, options) { return this.#act(id, "unmute", { leg }, options); }
    sendDTMF(id, digits, options) { return this.#act(id, "dtmf", digits, options); }
    redirect(id, to, options) { return this.#act(id, "redirect", to, options); }
    /** Transfers a call. An event tells what comes of it. */
    transfer(id, how, options) {
        return this.#ask("POST", ["calls", id, "transfers"], options, { body: how, keyed: true });
    }
    transfers(id, options) { return this.#list(["calls", id, "transfers"], {}, options); }
    transferById(id, transfer, options) { return this.#ask("GET", ["calls", id, "transfers", transfer], options); }
    cancelTransfer(id, transfer, options) {
        return this.#ask("DELETE", ["calls", id, "transfers", transfer], options, { keyed: true });
    }
    completeTransfer(id, transfer, options) {
        return this.#ask("POST", ["calls", id, "transfers", transfer, "complete"], options, { keyed: true });
    }
    messages(id, options) { return this.#ask("GET", ["calls", id, "messages"], options); }
    me(options) { return this.#ask("GET", ["me"], options); }
    users(options) { return this.#list(["users"], {}, options); }
    userByName(name, options) { return this.#ask("GET", ["users", name], options); }
    records(query = {}, options) { return this.#list(["cdrs"], query, options); }
    recordOf(id, options) { return this.#ask("GET", ["cdrs", id], options); }
    /** Records as CSV. Reading the body fails where the export broke off. */
    exportRecords(query = {}, options) { return this.#open("GET", ["cdrs.csv"], options, { query }); }
    /** A ticket that opens one stream within 60 s, for a page in a browser. */
    streamTicket(ticket = {}, options) { return this.#ask("POST", ["stream-tickets"], options, { body: ticket }); }
    webhooks(options) { return this.#list(["webhooks"], {}, options); }
    createWebhook(hook, options) { return this.#ask("POST", ["webhooks"], options, { body: hook }); }
    webhookById(id, options) { return this.#ask("GET", ["webhooks", id], options); }
    patchWebhook(id, patch, options) { return this.#ask("PATCH", ["webhooks", id], options, { body: patch }); }
    deleteWebhook(id, options) { return this.#ask("DELETE", ["webhooks", id], options); }
    rotateSecret(id, how = {}, options) { return this.#ask("POST", ["webhooks", id, "rotate-secret"], options, { body: how }); }
    testWebhook(id, how = {}, options) { return this.#ask("POST", ["webhooks", id, "test"], options, { body: how }); }
    enableWebhook(id, options) { return this.#ask("POST", ["webhooks", id, "enable"], options); }
    deliveries(id, query = {}, options) { return this.#list(["webhooks", id, "deliveries"], query, options); }
    replayWebhook(id, what, options) { return this.#ask("POST", ["webhooks", id, "replay"], options, { body: what }); }
    /** Rules of calls that come in. It needs the scope admin, as the two below. */
    inboundRules(options) { return this.#ask("GET", ["inbound", "rules"], options); }
    /** What would become of a call that comes in. There is no call. */
    tryInbound(call, options) { return this.#ask("POST", ["inbound", "try"], options, { body: call }); }
    health(options) { return this.#ask("GET", ["health"], options); }
    /** The present place in the stream: an `after` that begins with what happens from now on. */
    async cursor(options) { return (await this.eventPage({ after: "now", limit: 1 }, options)).next; }
    eventPage(query = {}, options) { return this.#ask("GET", ["events"], options, { query }); }
    /**
     * Follows what happens to calls. A lost connection is opened again where it was, so no
     * event is missing or comes twice. `stream.reset` and `stream.gap` tell of a gap.
     */
    async *events(query = {}, options = {}) {
        // The place is fixed before the stream opens: one that is cut at once loses nothing.
        const after = query.after === undefined && !query.snapshot || query.after === "now" ? await this.cursor(options) : query.after;
        yield* this.#follow(["events"], { ...query, after }, false, options);
    }
    /** Follows one call from its first event, or from `after`, and ends after `call.ended`, whatever the types are. */
    callEvents(id, query = {}, options = {}) {
        const type = query.type?.length ? [...query.type, "call.ended"] : undefined;
        return this.#follow(["calls", id, "events"], { ...query, type }, true, options);
    }
    #follow(path, query, one, options) {
        return follow((q, headers, signal) => this.#once("GET", path, q, headers, undefined, signal), query, one, this.#config.attempts ?? 5, options.signal);
    }
    #act(id, action, body, options) {
        return this.#ask("POST", ["calls", id, "actions", action], options, { body, keyed: true });
    }
    async #ask(method, path, options, order) {
        const response = await this.#open(method, path, options, order);
        return (response.status === 204 ? undefined : await response.json());
    }
    async *#list(path, query, options) {
        for (let cursor = null;;) {
            const page = await this.#ask("GET", path, options, { query: cursor ? { ...query, cursor } : query });
            yield* page.data;
            if (!page.has_more || !page.next)
                return;
            cursor = page.next;
        }
    }
    /** Sends a request until it is answered. */
    async #open(method, path, options = {}, order = {}) {
        const headers = {};
        if (order.keyed)
            headers["Idempotency-Key"] = randomKey();
        if (options.idempotencyKey !== undefined)
            headers["Idempotency-Key"] = options.idempotencyKey;
        if (options.ifVersion !== undefined)
            headers["If-Match"] = `"${options.ifVersion}"`;
        if (options.waitSeconds !== undefined)
            headers["Prefer"] = `wait=${Math.min(25, Math.floor(options.waitSeconds))}`;
        if (options.requestId !== undefined)
            headers["X-Request-Id"] = options.requestId;
        const body = order.body === undefined ? undefined : JSON.stringify(order.body);
        if (body !== undefined)
            headers["Content-Type"] = "application/json";
        Object.assign(headers, order.headers);
        const { attempts = 5, maxWaitMs = 30_000 } = this.#config;
        for (let attempt = 1;; attempt++) {
            try {
                return await this.#once(method, path, order.query ?? {}, headers, body, options.signal);
            }
            catch (error) {
                if (attempt >= attempts || options.signal?.aborted)
                    throw error;
                let pause = backoff(attempt);
                if (error instanceof ProblemError && !error.unanswered) {
                    pause = error.retryAfterMs ?? pause;
                    if (!error.passes || pause > maxWaitMs)
                        throw error;
                }
                else if (!order.keyed && method !== "GET" && method !== "PUT" && method !== "DELETE") {
                    throw error; // nobody knows whether the service has seen it
                }
                await sleep(Math.min(pause, maxWaitMs), options.signal);
            }
        }
    }
    /** Sends a request. A refusal is thrown. */
    async #once(method, path, query, headers, body, signal) {
        const { url, key, user, pin, agent } = this.#config;
        const search = parameters(agent !== undefined && query["agent"] === undefined ? { ...query, agent } : query);
        const all = { ...headers };
        if (key !== undefined)
            all["Authorization"] = `Bearer ${key}`;
        else if (user !== undefined)
            all["Authorization"] = `Basic ${base64(`${user}:${pin ?? ""}`)}`;
        const target = `${url}/v1/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
        const response = await (this.#config.fetch ?? fetch)(target, { method, headers: all, body, signal });
        if (!response.ok && response.status !== 304)
            throw await ProblemError.of(response);
        return response;
    }
}
/** Writes a query: lists as repeated parameters, tags as tag.KEY, times by RFC 3339. */
function parameters(query) {
    const all = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
        if (value === undefined || value === null)
            continue;
        if (name === "tags") {
            for (const [tag, text] of Object.entries(value))
                all.append(`tag.${tag}`, text);
        }
        else if (Array.isArray(value)) {
            for (const v of value)
                all.append(name, String(v));
        }
        else {
            all.append(name, value instanceof Date ? value.toISOString() : String(value));
        }
    }
    return all.toString();
}
function base64(text) {
    return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
/** Browsers have randomUUID on secure pages only. */
function randomKey() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");
}
