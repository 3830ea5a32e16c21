// The view "Live calls": all calls that go on, by one stream that begins with them.

import {badge, field, h, replace, row, say, select, table} from "./dom.js";
import {follow} from "./api.js";
import {lasts, t, word} from "./texts.js";

// endedTime is how long a call is shown once it has ended; most bounds those shown.
const endedTime = 5000;
const most = 500;

export async function live(main, context) {
  const {signal, connected, may} = context;
  const calls = new Map();
  const text = h("input", {type: "search", name: "filter", autocomplete: "off"});
  const state = select("state", [["", t("all")], ...["routing", "calling", "connecting", "connected", "released"].map(value => [value, word("state", value)])]);
  const kind = select("kind", [["", t("all")], ...["click_to_call", "dial_out", "inbound", "websocket"].map(value => [value, word("kind", value)])]);
  const count = h("p", {role: "status", id: "count"}, t("stream.opens"));
  const rows = h("div", {id: "live"});
  const shown = new Map(); // rows by call, that stay in place while they are read

  main.append(h("form", {class: "filters", onsubmit: event => event.preventDefault(), oninput: draw},
    field(t("live.filter"), text), field(t("live.state"), state), field(t("live.kind"), kind)), count, rows);

  const whole = table(t("view.live"), [t("live.parties"), t("live.where"), t("live.since"), t("live.kind"), t("live.agent")], []);
  const body = whole.querySelector("tbody");
  rows.append(whole);

  const parties = call => call.legs.map(leg => leg.display || leg.address).join(" → ") || call.id;
  const fits = call => (!state.value || call.state === state.value) && (!kind.value || call.kind === kind.value) &&
    (!text.value || JSON.stringify([call.id, call.agent, call.subject, call.tags, call.legs.map(leg => [leg.address, leg.display])])
      .toLowerCase().includes(text.value.trim().toLowerCase()));

  function draw() {
    const all = [...calls.values()].sort((a, b) => a.created_at < b.created_at ? 1 : -1);
    const list = all.filter(fits);
    for (const call of list.slice(0, most)) {
      const old = shown.get(call.id);
      if (old?.version === call.version) continue;
      const line = row(may("calls:read") ? h("a", {href: `#/calls/${encodeURIComponent(call.id)}`}, parties(call)) : parties(call),
        [badge(call.state, word("state", call.state)), call.legs.some(leg => leg.held && leg.state !== "ended") && badge("held", t("leg.held"))],
        h("span", {"data-since": call.connected_at || call.created_at}), word("kind", call.kind), call.agent || "–");
      line.dataset.call = call.id;
      line.dataset.state = call.state;
      if (old?.line.contains(document.activeElement)) queueMicrotask(() => line.querySelector("a")?.focus());
      shown.set(call.id, {version: call.version, line});
    }
    for (const id of shown.keys()) if (!calls.has(id)) shown.delete(id);
    const lines = list.slice(0, most).map(call => shown.get(call.id).line);
    if (lines.length !== body.children.length || lines.some((line, i) => body.children[i] !== line)) replace(body, lines);
    const on = all.filter(call => call.state !== "ended").length;
    say(count, t("live.count", {count: on, shown: lines.length}));
    whole.hidden = lines.length === 0;
    tick();
  }

  function tick() {
    for (const since of body.querySelectorAll("[data-since]")) say(since, lasts(Date.now() - new Date(since.dataset.since)));
  }
  const timer = setInterval(tick, 1000);
  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; if (!signal.aborted) draw(); }, 100);
  };
  signal.addEventListener("abort", () => clearInterval(timer));

  function take(call) {
    const old = calls.get(call.id);
    if (old && old.version > call.version) return;
    calls.set(call.id, call);
    if (call.state === "ended") setTimeout(() => { calls.delete(call.id); soon(); }, endedTime);
    soon();
  }
  await follow("events?snapshot=1&coalesce=call", {signal, live: connected, fresh: true, each(event) {
    if (event.type === "stream.snapshot") {
      if (event.data.part <= 1) calls.clear();
      for (const call of event.data.calls ?? []) take(call);
      soon();
    } else if (event.data?.call) take(event.data.call);
  }});
}
