/** The pause after so many attempts; half of it is random. */
export function backoff(attempt: number): number {
  const most = Math.min(250 * 2 ** Math.min(attempt - 1, 10), 5000);
  return most / 2 + Math.random() * most / 2;
}

/** Pauses; rejects with the signal's reason once that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const aborted = () => { clearTimeout(timer); reject(signal!.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", aborted); resolve(); }, ms);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}
