import type { Call, CallEvent, EventsQuery } from "./types.js";
import { ProblemError } from "./problem.js";
import { backoff, sleep } from "./retry.js";
import { blocks } from "./sse.js";

/** Events are missing since the store could not keep up: read the calls again. */
export type Gap = CallEvent & { type: "stream.gap" };

/** The place in the stream is gone, so events are missing: read the calls again. */
export interface Reset { id: string; type: "stream.reset"; timestamp: string; final: false; data: { call_id: null; reason: string; oldest: string } }

/** A part of the calls that go on when the stream begins. */
export interface Snapshot { id: string; type: "stream.snapshot"; timestamp: string; final: false; data: { call_id: null; calls: Call[]; part: number; parts: number } }

export type StreamEvent = CallEvent | Reset | Snapshot;

export type EventQuery = Omit<EventsQuery, "limit" | "format" | "ticket" | "snapshot"> & { snapshot?: boolean };

/** Sends one request, once. */
export type Open = (query: { [name: string]: unknown }, headers: { [name: string]: string }, signal: AbortSignal) => Promise<Response>;

const silence = 50_000, soon = 250;

/**
 * Reads streams, one after the other, each from where the one before was. It ends after
 * `call.ended` of one call, throws what the service refuses, and the signal's reason.
 */
export async function* follow(open: Open, query: EventQuery, one: boolean, attempts: number, signal?: AbortSignal): AsyncGenerator<StreamEvent, void, void> {
  let cursor = "", retry = 0, opened = false, fails = 0;
  for (;;) {
    signal?.throwIfAborted();
    const cut = new AbortController(), stop = () => cut.abort(signal!.reason);
    signal?.addEventListener("abort", stop, { once: true });
    let watch: ReturnType<typeof setTimeout> | undefined;
    const alive = () => { clearTimeout(watch); watch = setTimeout(() => cut.abort(new Error("sipxrest: the stream is silent")), silence); };
    let failure: unknown, closing = false;
    try {
      alive();
      const { after, snapshot, ...filters } = query;
      const response = await open(cursor ? filters : { ...filters, after, snapshot: snapshot ? "1" : undefined },
        { Accept: "text/event-stream", ...(cursor && { "Last-Event-ID": cursor }) }, cut.signal);
      if (response.status === 204) return; // its last event has been read
      opened = true;
      for await (const block of blocks(response.body!, alive)) {
        retry = block.retry ?? retry;
        if (!block.id && !block.data) continue;
        fails = 0;
        if (!block.data) { cursor = block.id; continue; }
        const event: StreamEvent & { data: { retry_ms?: number } } = JSON.parse(block.data);
        if (block.event === "stream.closing") {
          cursor = block.id || cursor, retry = event.data.retry_ms ?? retry, closing = true;
          break;
        }
        if (!block.event.startsWith("stream.") && !query.coalesce && before(block.id, cursor)) continue;
        // Who is cut off between two parts of a snapshot gets all of them again.
        const whole = event.type !== "stream.snapshot" || event.data.part >= event.data.parts;
        if (whole) cursor = block.id || cursor;
        yield event;
        if (one && event.final) return;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof SyntaxError || error instanceof RangeError) throw error;
      failure = error;
    } finally {
      clearTimeout(watch);
      signal?.removeEventListener("abort", stop);
      cut.abort(); // also where the reader leaves the loop
    }
    fails++;
    let pause = backoff(fails);
    if (failure instanceof ProblemError && !failure.unanswered) {
      if (!failure.passes) throw failure;
      pause = Math.max(pause, failure.retryAfterMs ?? 0);
    } else if (closing) pause = retry;
    else if (opened && fails === 1) pause = Math.random() * soon;
    else if (opened) pause = Math.max(pause, retry);
    if (!opened && fails >= attempts) throw failure;
    await sleep(pause, signal);
  }
}

/** Whether an event's id is at or before a cursor of the same store: it has been told. */
function before(id: string, cursor: string): boolean {
  const [, store, run, seq] = id.split("_"), [, wasStore, wasRun, wasSeq] = cursor.split("_");
  return store !== undefined && store === wasStore && (Number(run) < Number(wasRun) || run === wasRun && Number(seq) <= Number(wasSeq));
}
