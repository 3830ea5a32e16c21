// The schemas of the description under short names.
import type { components, operations } from "./schema.js";

type Schemas = components["schemas"];

export type ActionResult = Schemas["ActionResult"];
export type Call = Schemas["Call"];
export type CallEvent = Schemas["Event"];
export type CallPage = Schemas["CallPage"];
export type CheckCall = Schemas["CheckCall"];
export type CheckResult = Schemas["CheckResult"];
export type Code = Schemas["Code"];
export type CreateCall = Schemas["CreateCall"];
export type CreateStreamTicket = Schemas["CreateStreamTicket"];
export type CreateTransfer = Schemas["CreateTransfer"];
export type CreateWebhook = Schemas["CreateWebhook"];
export type Delivery = Schemas["Delivery"];
export type End = Schemas["End"];
export type EventPage = Schemas["EventPage"];
export type EventType = Schemas["EventType"];
export type HangUp = Schemas["HangUp"];
export type Health = Schemas["Health"];
export type Inbound = Schemas["Inbound"];
export type InboundTrial = Schemas["InboundTrial"];
export type Leg = Schemas["Leg"];
export type MessagePage = Schemas["MessagePage"];
export type PatchCall = Schemas["PatchCall"];
export type PatchWebhook = Schemas["PatchWebhook"];
export type Principal = Schemas["Principal"];
export type Problem = Schemas["Problem"];
export type PutCall = Schemas["PutCall"];
export type CallRecord = Schemas["Record"];
export type Redirect = Schemas["Redirect"];
export type ReplayResult = Schemas["ReplayResult"];
export type ReplayWebhook = Schemas["ReplayWebhook"];
export type RotateSecret = Schemas["RotateSecret"];
export type SendDTMF = Schemas["SendDTMF"];
export type StreamTicket = Schemas["StreamTicket"];
export type TestWebhook = Schemas["TestWebhook"];
export type Transfer = Schemas["Transfer"];
export type TryInbound = Schemas["TryInbound"];
export type User = Schemas["User"];
export type Webhook = Schemas["Webhook"];
export type WebhookRotated = Schemas["WebhookRotated"];
export type WebhookTestResult = Schemas["WebhookTestResult"];
export type WebhookWithSecret = Schemas["WebhookWithSecret"];

type QueryOf<Name extends keyof operations> = NonNullable<operations[Name]["parameters"]["query"]>;

/** Tags are given by `tags`, and sent as `tag.KEY=VALUE`. */
type Tagged<Q> = Omit<Q, "tag.*" | "agent"> & { tags?: { [key: string]: string } };

export type CallQuery = Tagged<QueryOf<"listCalls">>;
export type RecordQuery = Tagged<QueryOf<"listRecords">>;
export type ExportQuery = Tagged<QueryOf<"exportRecords">>;
export type DeliveryQuery = QueryOf<"listDeliveries">;
export type EventsQuery = Tagged<QueryOf<"events">> & { agent?: string | string[] };
