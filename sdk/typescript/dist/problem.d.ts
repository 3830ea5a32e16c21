import type { Code, Problem } from "./types.js";
/** Why the service refused a request (RFC 9457). Compare `code`. */
export declare class ProblemError extends Error {
    readonly name = "ProblemError";
    readonly status: number;
    /** Undefined where a server between has answered, and not the service. */
    readonly code: Code | undefined;
    /** `no`: no phone was called, so it is safe to ask anew. */
    readonly dialled: "no" | "yes" | "unknown";
    /** How long the service asks to wait. */
    readonly retryAfterMs: number | undefined;
    /** The whole document. */
    readonly problem: Partial<Problem>;
    constructor(status: number, problem: Partial<Problem>, retryAfterMs?: number);
    static of(response: Response): Promise<ProblemError>;
    /** Whether the same request may well be taken later. Wrong PINs stay wrong. */
    get passes(): boolean;
    /** Whether a server between got no answer. */
    get unanswered(): boolean;
}
