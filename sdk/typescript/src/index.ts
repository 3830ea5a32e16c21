export { Client } from "./client.js";
export type { Config, Options, Query } from "./client.js";
export { ProblemError } from "./problem.js";
export type { EventQuery, StreamEvent, Gap, Reset, Snapshot } from "./events.js";
export type * from "./types.js";
