import type { Call, CallEvent, EventsQuery } from "./types.js";
/** Events are missing since the store could not keep up: read the calls again. */
export type Gap = CallEvent & {
    type: "stream.gap";
};
/** The place in the stream is gone, so events are missing: read the calls again. */
export interface Reset {
    id: string;
    type: "stream.reset";
    timestamp: string;
    final: false;
    data: {
        call_id: null;
        reason: string;
        oldest: string;
    };
}
/** A part of the calls that go on when the stream begins. */
export interface Snapshot {
    id: string;
    type: "stream.snapshot";
    timestamp: string;
    final: false;
    data: {
        call_id: null;
        calls: Call[];
        part: number;
        parts: number;
    };
}
export type StreamEvent = CallEvent | Reset | Snapshot;
export type EventQuery = Omit<EventsQuery, "limit" | "format" | "ticket" | "snapshot"> & {
    snapshot?: boolean;
};
/** Sends one request, once. */
export type Open = (query: {
    [name: string]: unknown;
}, headers: {
    [name: string]: string;
}, signal: AbortSignal) => Promise<Response>;
/**
 * Reads streams, one after the other, each from where the one before was. It ends after
 * `call.ended` of one call, throws what the service refuses, and the signal's reason.
 */
export declare function follow(open: Open, query: EventQuery, one: boolean, attempts: number, signal?: AbortSignal): AsyncGenerator<StreamEvent, void, void>;
