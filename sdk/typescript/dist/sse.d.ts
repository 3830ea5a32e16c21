/** One server-sent event. One without data says only where the stream is. */
export interface Block {
    id: string;
    event: string;
    data: string;
    retry?: number;
}
/** Reads server-sent events. One that the end of the stream cuts off is none. */
export declare function blocks(body: ReadableStream<Uint8Array>, alive: () => void): AsyncGenerator<Block>;
