// Receives webhooks of sipxrest. It needs Node.js 18 or newer and nothing else.
//
//     WEBHOOK_SECRET="whsec_…" PORT=8080 node receiver.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// During a rotation both secrets are here, separated by a space.
const secrets = process.env.WEBHOOK_SECRET.trim().split(/\s+/).map((s) => Buffer.from(s.slice("whsec_".length), "base64"));
const tolerance = 5 * 60; // seconds
const maxBody = 64 * 1024;

// verified reports whether a request is from sipxrest, and fresh.
function verified(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const stamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(stamp) || Math.abs(Date.now() / 1000 - Number(stamp)) > tolerance) return false;
  for (const signature of (headers["webhook-signature"] ?? "").split(" ")) {
    if (!signature.startsWith("v1,")) continue;
    const given = Buffer.from(signature.slice("v1,".length), "base64");
    for (const secret of secrets) {
      const expected = createHmac("sha256", secret).update(`${id}.${stamp}.`).update(body).digest();
      if (given.length === expected.length && timingSafeEqual(given, expected)) return true;
    }
  }
  return false;
}

const seen = new Set(); // ids of events; keep them in your database, with what they change
const versions = new Map(); // of calls

// handle does something with an event. The same one may come twice.
function handle(event) {
  if (seen.has(event.id)) return;
  seen.add(event.id);
  const call = event.data.call;
  if (!call) {
    console.log(event.type); // an event of no call, or one that was too big
    return;
  }
  if (call.version <= (versions.get(call.id) ?? 0)) return; // what came later overtook it
  versions.set(call.id, call.version);
  console.log(event.type, call.id, call.state);
}

const server = createServer(async (request, response) => {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > maxBody) return response.writeHead(413).end();
    parts.push(part);
  }
  const body = Buffer.concat(parts);
  if (request.method !== "POST" || !verified(request.headers, body)) return response.writeHead(401).end();
  handle(JSON.parse(body));
  response.writeHead(204).end(); // taken: it is not sent again
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => console.log("listening on", server.address().port));
