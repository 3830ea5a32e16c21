import type * as t from "./types.js";
import { type EventQuery, type StreamEvent } from "./events.js";
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
export type Query = {
    [name: string]: unknown;
};
export declare class Client {
    #private;
    constructor(config: Config);
    /** Places a call. The answer comes once the first phone is called. */
    createCall(call: t.CreateCall, options?: Options): Promise<{
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    /** Places a call whose id is yours, so that any process may repeat it. */
    putCall(id: string, call: t.PutCall, options?: Options): Promise<{
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    /** Says what `createCall` would meet, and calls nobody. */
    checkCall(call: t.CheckCall, options?: Options): Promise<{
        object: "check";
        verdict: "will_fail" | "may_fail" | "no_objection";
        flow: import("./schema.js").components["schemas"]["CheckFlow"];
        steps: import("./schema.js").components["schemas"]["CheckStep"][];
    }>;
    call(id: string, options?: Options): Promise<{
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    /** Calls that go on, and those that ended of late, page by page as they are needed. */
    calls(query?: t.CallQuery, options?: Options): AsyncGenerator<{
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }, void, void>;
    patchCall(id: string, patch: t.PatchCall, options?: Options): Promise<{
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    /** Ends a call, whatever it is at. A call that is over is no error. */
    hangUp(id: string, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    hangUpLeg(id: string, how: t.HangUp, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    hold(id: string, leg?: string, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    unhold(id: string, leg?: string, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    mute(id: string, leg?: string, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    unmute(id: string, leg?: string, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    sendDTMF(id: string, digits: t.SendDTMF, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    redirect(id: string, to: t.Redirect, options?: Options): Promise<{
        changed: boolean;
        sent?: number;
    } & {
        id: string;
        object: "call";
        version: number;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        direction: "outbound" | "inbound";
        state: import("./schema.js").components["schemas"]["State"];
        agent: string;
        request_id?: string;
        subject?: string;
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        flow: import("./schema.js").components["schemas"]["Flow"];
        knowledge: import("./schema.js").components["schemas"]["Knowledge"];
        rule?: string;
        decision?: string;
        legs: import("./schema.js").components["schemas"]["Leg"][];
        transfers: import("./schema.js").components["schemas"]["TransferOfCall"][];
        actions: ("hangup" | "hold" | "unhold" | "mute" | "unmute" | "dtmf" | "redirect" | "transfer")[];
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        connected_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        released_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_ms: number | null;
        talk_ms: number | null;
        merged_into?: string;
        final_by?: import("./schema.js").components["schemas"]["Time"];
        end: import("./schema.js").components["schemas"]["End"] | null;
        links?: import("./schema.js").components["schemas"]["Links"];
        node?: string;
        taken_over_from?: string;
        moved_at?: import("./schema.js").components["schemas"]["Time"];
    }>;
    /** Transfers a call. An event tells what comes of it. */
    transfer(id: string, how: t.CreateTransfer, options?: Options): Promise<{
        object: "transfer";
        call_id: string;
        links: import("./schema.js").components["schemas"]["TransferLinks"];
    } & {
        id: string;
        mode: "blind" | "attended" | "phone";
        leaver?: "calling" | "called" | "caller" | "target";
        to?: string;
        with_call: string | null;
        requested_by?: string;
        state: "dialing" | "ringing" | "consulting" | "completed" | "failed" | "cancelled";
        started_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        end: import("./schema.js").components["schemas"]["TransferEnd"] | null;
    }>;
    transfers(id: string, options?: Options): AsyncGenerator<{
        object: "transfer";
        call_id: string;
        links: import("./schema.js").components["schemas"]["TransferLinks"];
    } & {
        id: string;
        mode: "blind" | "attended" | "phone";
        leaver?: "calling" | "called" | "caller" | "target";
        to?: string;
        with_call: string | null;
        requested_by?: string;
        state: "dialing" | "ringing" | "consulting" | "completed" | "failed" | "cancelled";
        started_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        end: import("./schema.js").components["schemas"]["TransferEnd"] | null;
    }, void, void>;
    transferById(id: string, transfer: string, options?: Options): Promise<{
        object: "transfer";
        call_id: string;
        links: import("./schema.js").components["schemas"]["TransferLinks"];
    } & {
        id: string;
        mode: "blind" | "attended" | "phone";
        leaver?: "calling" | "called" | "caller" | "target";
        to?: string;
        with_call: string | null;
        requested_by?: string;
        state: "dialing" | "ringing" | "consulting" | "completed" | "failed" | "cancelled";
        started_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        end: import("./schema.js").components["schemas"]["TransferEnd"] | null;
    }>;
    cancelTransfer(id: string, transfer: string, options?: Options): Promise<{
        object: "transfer";
        call_id: string;
        links: import("./schema.js").components["schemas"]["TransferLinks"];
    } & {
        id: string;
        mode: "blind" | "attended" | "phone";
        leaver?: "calling" | "called" | "caller" | "target";
        to?: string;
        with_call: string | null;
        requested_by?: string;
        state: "dialing" | "ringing" | "consulting" | "completed" | "failed" | "cancelled";
        started_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        end: import("./schema.js").components["schemas"]["TransferEnd"] | null;
    }>;
    completeTransfer(id: string, transfer: string, options?: Options): Promise<{
        object: "transfer";
        call_id: string;
        links: import("./schema.js").components["schemas"]["TransferLinks"];
    } & {
        id: string;
        mode: "blind" | "attended" | "phone";
        leaver?: "calling" | "called" | "caller" | "target";
        to?: string;
        with_call: string | null;
        requested_by?: string;
        state: "dialing" | "ringing" | "consulting" | "completed" | "failed" | "cancelled";
        started_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        ended_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        end: import("./schema.js").components["schemas"]["TransferEnd"] | null;
    }>;
    messages(id: string, options?: Options): Promise<{
        object: "list";
        data: import("./schema.js").components["schemas"]["SIPMessage"][];
        dropped: number;
    }>;
    me(options?: Options): Promise<{
        object: "principal";
        type: "user" | "peer" | "key" | "phone";
        name: string;
        agent: import("./schema.js").components["schemas"]["User"] | null;
        scopes: import("./schema.js").components["schemas"]["Scope"][];
        agents: string[];
        expires_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        networks?: string[];
        limits: import("./schema.js").components["schemas"]["PrincipalLimits"];
        events: import("./schema.js").components["schemas"]["PrincipalEvents"];
        request_id: string;
    }>;
    users(options?: Options): AsyncGenerator<{
        object: "user";
        user: string;
        address: string;
        aliases: string[];
        display_name: string | null;
        policy: string | null;
    }, void, void>;
    userByName(name: string, options?: Options): Promise<{
        object: "user";
        user: string;
        address: string;
        aliases: string[];
        display_name: string | null;
        policy: string | null;
    }>;
    records(query?: t.RecordQuery, options?: Options): AsyncGenerator<{
        call_id: string;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        flow: "invite" | "refer" | null;
        knowledge: "full" | "setup" | "lost" | null;
        agent: string | null;
        caller_aor: string | null;
        callee_aor: string | null;
        caller_contact: string | null;
        callee_contact: string | null;
        callee_route: string | null;
        start_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        connect_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        end_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        talk_ms: number | null;
        ring_ms: number | null;
        termination: "C" | "F" | "A" | "T" | "U" | "I";
        outcome: import("./schema.js").components["schemas"]["Outcome"];
        reason: import("./schema.js").components["schemas"]["Reason"];
        ended_by: string | null;
        failed_leg: string | null;
        stage: string | null;
        sip_code: number | null;
        q850: number | null;
        q850_source: "header" | "mapped" | null;
        sip_synthesized: boolean | null;
        message: string | null;
        transferred_to: string | null;
        merged_into: string | null;
        sip_call_ids: string[];
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        legs: import("./schema.js").components["schemas"]["Leg"][] | null;
        node: string | null;
        request_id: string | null;
        taken_over_from: string | null;
        moved_at: import("./schema.js").components["schemas"]["TimeOrNull"];
    }, void, void>;
    recordOf(id: string, options?: Options): Promise<{
        call_id: string;
        kind: import("./schema.js").components["schemas"]["Kind"];
        source: import("./schema.js").components["schemas"]["Source"];
        flow: "invite" | "refer" | null;
        knowledge: "full" | "setup" | "lost" | null;
        agent: string | null;
        caller_aor: string | null;
        callee_aor: string | null;
        caller_contact: string | null;
        callee_contact: string | null;
        callee_route: string | null;
        start_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        ring_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        connect_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        end_time: import("./schema.js").components["schemas"]["TimeOrNull"];
        talk_ms: number | null;
        ring_ms: number | null;
        termination: "C" | "F" | "A" | "T" | "U" | "I";
        outcome: import("./schema.js").components["schemas"]["Outcome"];
        reason: import("./schema.js").components["schemas"]["Reason"];
        ended_by: string | null;
        failed_leg: string | null;
        stage: string | null;
        sip_code: number | null;
        q850: number | null;
        q850_source: "header" | "mapped" | null;
        sip_synthesized: boolean | null;
        message: string | null;
        transferred_to: string | null;
        merged_into: string | null;
        sip_call_ids: string[];
        tags: import("./schema.js").components["schemas"]["Tags"];
        metadata: import("./schema.js").components["schemas"]["Metadata"];
        legs: import("./schema.js").components["schemas"]["Leg"][] | null;
        node: string | null;
        request_id: string | null;
        taken_over_from: string | null;
        moved_at: import("./schema.js").components["schemas"]["TimeOrNull"];
    }>;
    /** Records as CSV. Reading the body fails where the export broke off. */
    exportRecords(query?: t.ExportQuery, options?: Options): Promise<Response>;
    /** A ticket that opens one stream within 60 s, for a page in a browser. */
    streamTicket(ticket?: t.CreateStreamTicket, options?: Options): Promise<{
        ticket: string;
        expires_at: import("./schema.js").components["schemas"]["TimeOrNull"];
    }>;
    webhooks(options?: Options): AsyncGenerator<{
        id: string;
        object: "webhook";
        name: string;
        url: string;
        events: string[];
        agents: string[];
        kinds: import("./schema.js").components["schemas"]["Kind"][];
        include: "call" | "change";
        format: "standard" | "cloudevents";
        order: "per_call" | "none";
        timeout_ms: number;
        ed25519: boolean;
        headers: {
            [key: string]: string;
        };
        enabled: boolean;
        origin: "api" | "config" | "call";
        call_id?: string;
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        status: import("./schema.js").components["schemas"]["WebhookStatus"];
        secrets: import("./schema.js").components["schemas"]["WebhookSecret"][];
    }, void, void>;
    createWebhook(hook: t.CreateWebhook, options?: Options): Promise<{
        secret: string;
    } & {
        id: string;
        object: "webhook";
        name: string;
        url: string;
        events: string[];
        agents: string[];
        kinds: import("./schema.js").components["schemas"]["Kind"][];
        include: "call" | "change";
        format: "standard" | "cloudevents";
        order: "per_call" | "none";
        timeout_ms: number;
        ed25519: boolean;
        headers: {
            [key: string]: string;
        };
        enabled: boolean;
        origin: "api" | "config" | "call";
        call_id?: string;
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        status: import("./schema.js").components["schemas"]["WebhookStatus"];
        secrets: import("./schema.js").components["schemas"]["WebhookSecret"][];
    }>;
    webhookById(id: string, options?: Options): Promise<{
        id: string;
        object: "webhook";
        name: string;
        url: string;
        events: string[];
        agents: string[];
        kinds: import("./schema.js").components["schemas"]["Kind"][];
        include: "call" | "change";
        format: "standard" | "cloudevents";
        order: "per_call" | "none";
        timeout_ms: number;
        ed25519: boolean;
        headers: {
            [key: string]: string;
        };
        enabled: boolean;
        origin: "api" | "config" | "call";
        call_id?: string;
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        status: import("./schema.js").components["schemas"]["WebhookStatus"];
        secrets: import("./schema.js").components["schemas"]["WebhookSecret"][];
    }>;
    patchWebhook(id: string, patch: t.PatchWebhook, options?: Options): Promise<{
        id: string;
        object: "webhook";
        name: string;
        url: string;
        events: string[];
        agents: string[];
        kinds: import("./schema.js").components["schemas"]["Kind"][];
        include: "call" | "change";
        format: "standard" | "cloudevents";
        order: "per_call" | "none";
        timeout_ms: number;
        ed25519: boolean;
        headers: {
            [key: string]: string;
        };
        enabled: boolean;
        origin: "api" | "config" | "call";
        call_id?: string;
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        status: import("./schema.js").components["schemas"]["WebhookStatus"];
        secrets: import("./schema.js").components["schemas"]["WebhookSecret"][];
    }>;
    deleteWebhook(id: string, options?: Options): Promise<void>;
    rotateSecret(id: string, how?: t.RotateSecret, options?: Options): Promise<{
        secret?: string;
    } & {
        id: string;
        object: "webhook";
        name: string;
        url: string;
        events: string[];
        agents: string[];
        kinds: import("./schema.js").components["schemas"]["Kind"][];
        include: "call" | "change";
        format: "standard" | "cloudevents";
        order: "per_call" | "none";
        timeout_ms: number;
        ed25519: boolean;
        headers: {
            [key: string]: string;
        };
        enabled: boolean;
        origin: "api" | "config" | "call";
        call_id?: string;
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        status: import("./schema.js").components["schemas"]["WebhookStatus"];
        secrets: import("./schema.js").components["schemas"]["WebhookSecret"][];
    }>;
    testWebhook(id: string, how?: t.TestWebhook, options?: Options): Promise<{
        event_id: string;
        taken: boolean;
        attempt: import("./schema.js").components["schemas"]["Attempt"];
    }>;
    enableWebhook(id: string, options?: Options): Promise<{
        id: string;
        object: "webhook";
        name: string;
        url: string;
        events: string[];
        agents: string[];
        kinds: import("./schema.js").components["schemas"]["Kind"][];
        include: "call" | "change";
        format: "standard" | "cloudevents";
        order: "per_call" | "none";
        timeout_ms: number;
        ed25519: boolean;
        headers: {
            [key: string]: string;
        };
        enabled: boolean;
        origin: "api" | "config" | "call";
        call_id?: string;
        created_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        status: import("./schema.js").components["schemas"]["WebhookStatus"];
        secrets: import("./schema.js").components["schemas"]["WebhookSecret"][];
    }>;
    deliveries(id: string, query?: t.DeliveryQuery, options?: Options): AsyncGenerator<{
        event_id: string;
        type: import("./schema.js").components["schemas"]["EventType"];
        call_id: string | null;
        state: "pending" | "failed" | "dead";
        replay: boolean;
        next_attempt_at: import("./schema.js").components["schemas"]["TimeOrNull"];
        since: import("./schema.js").components["schemas"]["TimeOrNull"];
        attempts: import("./schema.js").components["schemas"]["Attempt"][];
    }, void, void>;
    replayWebhook(id: string, what: t.ReplayWebhook, options?: Options): Promise<{
        queued: number;
        next: string | null;
    }>;
    /** Rules of calls that come in. It needs the scope admin, as the two below. */
    inboundRules(options?: Options): Promise<{
        object: "inbound";
        enabled: boolean;
        rules: import("./schema.js").components["schemas"]["InboundRule"][];
        trunks: import("./schema.js").components["schemas"]["InboundTrunk"][];
    }>;
    /** What would become of a call that comes in. There is no call. */
    tryInbound(call: t.TryInbound, options?: Options): Promise<{
        object: "inbound_trial";
        result: "decided" | "webhook_not_asked" | "fallback" | "no_rule" | "off";
        call: import("./schema.js").components["schemas"]["InboundTried"];
        must_authenticate: boolean;
        rules: import("./schema.js").components["schemas"]["InboundMatch"][];
        request?: string;
        answer?: string;
        took_ms: number | null;
        error?: string;
        decision: import("./schema.js").components["schemas"]["InboundDecision"] | null;
        uri?: string;
        outcome: string;
    }>;
    health(options?: Options): Promise<{
        object: "health";
        at: import("./schema.js").components["schemas"]["TimeOrNull"];
        version: string;
        status: "ok" | "draining";
        proxies_checked: boolean;
        proxies: import("./schema.js").components["schemas"]["ProxyHealth"][];
        certificates: import("./schema.js").components["schemas"]["Certificate"][];
        limits: import("./schema.js").components["schemas"]["Limit"][];
        talk_servers: import("./schema.js").components["schemas"]["TalkServer"][];
    }>;
    /** The present place in the stream: an `after` that begins with what happens from now on. */
    cursor(options?: Options): Promise<string>;
    eventPage(query?: t.EventsQuery, options?: Options): Promise<{
        data: (import("./schema.js").components["schemas"]["Event"] | import("./schema.js").components["schemas"]["CloudEvent"])[];
        has_more: boolean;
        next: string;
    }>;
    /**
     * Follows what happens to calls. A lost connection is opened again where it was, so no
     * event is missing or comes twice. `stream.reset` and `stream.gap` tell of a gap.
     */
    events(query?: EventQuery, options?: Pick<Options, "signal">): AsyncGenerator<StreamEvent, void, void>;
    /** Follows one call from its first event, or from `after`, and ends after `call.ended`, whatever the types are. */
    callEvents(id: string, query?: Pick<EventQuery, "after" | "type" | "include" | "coalesce">, options?: Pick<Options, "signal">): AsyncGenerator<StreamEvent, void, void>;
}
