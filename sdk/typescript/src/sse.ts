/** One server-sent event. One without data says only where the stream is. */
export interface Block { id: string; event: string; data: string; retry?: number }

/** The longest event; the longest are parts of snapshots, of 100 calls each. */
const most = 8 << 20;

/** Reads server-sent events. One that the end of the stream cuts off is none. */
export async function* blocks(body: ReadableStream<Uint8Array>, alive: () => void): AsyncGenerator<Block> {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = "", block: Block = { id: "", event: "", data: "" }, some = false, size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop()!;
      if (size + rest.length > most) throw new RangeError("sipxrest: a server-sent event is too long");
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line === "") {
          if (some) yield block;
          block = { id: "", event: "", data: "" }, some = false, size = 0;
          continue;
        }
        if ((size += raw.length) > most) throw new RangeError("sipxrest: a server-sent event is too long");
        const colon = line.indexOf(":"), name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        switch (name) {
          case "id": block.id = text; break;
          case "event": block.event = text; break;
          case "data": block.data = block.data ? `${block.data}\n${text}` : text; break;
          case "retry": if (/^\d{1,9}$/.test(text)) block.retry = Number(text); break;
          default: continue; // a comment, or a field of later days
        }
        some = true;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
