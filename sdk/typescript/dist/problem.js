/** Why the service refused a request (RFC 9457). Compare `code`. */
export class ProblemError extends Error {
    name = "ProblemError";
    status;
    /** Undefined where a server between has answered, and not the service. */
    code;
    /** `no`: no phone was called, so it is safe to ask anew. */
    dialled;
    /** How long the service asks to wait. */
    retryAfterMs;
    /** The whole document. */
    problem;
    constructor(status, problem, retryAfterMs) {
        const faults = (problem.errors ?? []).map(f => ` [${f.pointer ?? ""}${f.parameter ?? ""}: ${f.detail}]`);
        super(`sipxrest: ${status}${problem.code ? ` ${problem.code}` : ""}${problem.detail ? `: ${problem.detail}` : ""}${faults.join("")}`);
        this.status = status;
        this.code = problem.code;
        this.dialled = problem.dialled ?? "unknown";
        this.retryAfterMs = problem.retry_after_ms ?? retryAfterMs;
        this.problem = problem;
    }
    static async of(response) {
        const text = await response.text().catch(() => "");
        const seconds = Number(response.headers.get("Retry-After") ?? NaN);
        const wait = seconds > 0 ? seconds * 1000 : undefined;
        if ((response.headers.get("Content-Type") ?? "").startsWith("application/problem+json")) {
            try {
                return new ProblemError(response.status, JSON.parse(text), wait);
            }
            catch { /* not what it says that it is */ }
        }
        return new ProblemError(response.status, { detail: text.slice(0, 1024) }, wait);
    }
    /** Whether the same request may well be taken later. Wrong PINs stay wrong. */
    get passes() {
        return this.status === 503 || this.status === 429 && this.code !== "too_many_wrong_pins" || this.code === "idempotency_in_progress";
    }
    /** Whether a server between got no answer. */
    get unanswered() {
        return this.code === undefined && (this.status === 502 || this.status === 504);
    }
}
