/** The pause after so many attempts; half of it is random. */
export declare function backoff(attempt: number): number;
/** Pauses; rejects with the signal's reason once that is aborted. */
export declare function sleep(ms: number, signal?: AbortSignal): Promise<void>;
