// The view of one call: how it went, why it ended, and its SIP messages.

import {badge, h, replace, row, save, say, table} from "./dom.js";
import {ask, load, Problem, sleep} from "./api.js";
import {callPanel, why} from "./callpanel.js";
import {ladder} from "./ladder.js";
import {after, current, lasts, t, time, word} from "./texts.js";

// most bounds the events that are shown.
const most = 2000;

export async function detail(main, context, [id]) {
  const {signal, heading, may, fail} = context;
  if (!id) { main.append(h("p", {}, t("detail.none"))); return; }
  const path = `calls/${encodeURIComponent(id)}`;
  say(heading, t("view.calls"));
  main.append(h("p", {class: "note"}, t("detail.id"), " ", h("code", {}, id)));

  let call;
  try {
    call = await ask("GET", path, undefined, {signal});
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
    await record(main, context, id);
    await messages(main, context, id, path, () => []);
    return;
  }
  let began = call.created_at;
  let legs = call.legs;
  const lines = [];
  const events = table(t("detail.timeline"), [t("detail.time"), t("detail.after"), t("detail.event"), t("detail.leg"), t("detail.what")], []);
  const body = events.querySelector("tbody");
  const refreshed = new EventTarget();
  const {panel, open} = callPanel(id, context, current(), event => {
    began = event.data?.call?.created_at ?? began;
    legs = event.data?.call?.legs ?? legs;
    if (lines.length < most) { const line = eventRow(event, began); lines.push(line); body.append(line); }
    if (event.final) refreshed.dispatchEvent(new Event("end"));
  });
  open.remove();
  main.append(panel, facts(call), h("section", {class: "card"}, h("h2", {}, t("detail.timeline")), events));
  await messages(main, context, id, path, () => legs, refreshed).catch(error => { if (!signal.aborted) fail(error); });
}

// facts is what of a call stays as it is.
function facts(call) {
  const list = [
    [t("live.kind"), word("kind", call.kind)], [t("detail.source"), word("source", call.source)], [t("live.agent"), call.agent || "–"],
    [t("call.flow"), call.flow?.used ? t(`flow.${call.flow.used}`) + (call.flow.fallback ? ` (${call.flow.fallback})` : "") : "–"],
    [t("detail.began"), time(call.created_at)], [t("call.subject"), call.subject || "–"],
    [t("detail.tags"), Object.entries(call.tags ?? {}).map(([key, value]) => `${key}=${value}`).join(", ") || "–"],
    ...call.legs.filter(leg => leg.sip?.call_id).map(leg => [`Call-ID ${leg.id}`, leg.sip.call_id]),
  ];
  return h("details", {class: "card"}, h("summary", {}, t("detail.facts")),
    h("dl", {}, list.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

function eventRow(event, began) {
  const change = event.data.change ?? {};
  const end = change.end;
  const item = change.transfer;
  const what = [
    change.sip?.code ? `SIP ${change.sip.code} ${change.sip.reason ?? ""}` : "",
    end ? word("reason", end.reason) + (end.sip?.code ? ` (SIP ${end.sip.code} ${end.sip.reason ?? ""})` : "") : "",
    change.hop ? t("detail.hop", {hop: change.hop}) : "", change.to && `→ ${change.to}`, change.digit,
    item && [item.to, item.end?.message].filter(Boolean).join(": "), change.rule && t("detail.rule", {rule: change.rule}), change.decision,
  ].filter(Boolean).join(", ");
  const line = row(h("span", {class: "when"}, time(event.timestamp, true)), h("span", {class: "when"}, after(event.timestamp, began)),
    word("event", event.type), event.data.leg || "–", what || "–");
  line.dataset.event = event.type;
  return line;
}

// record shows a call that is known by its record only.
async function record(main, {may, signal}, id) {
  if (!may("cdrs:read")) { main.append(h("p", {}, t("call.gone"))); return; }
  let cdr;
  try {
    cdr = await ask("GET", `cdrs/${encodeURIComponent(id)}`, undefined, {signal});
  } catch (error) {
    if (error instanceof Problem && error.status === 404) { main.append(h("p", {}, t("call.gone"))); return; }
    throw error;
  }
  main.append(h("section", {class: "card"}, h("h2", {}, `${cdr.caller_aor ?? "–"} → ${cdr.callee_aor ?? "–"}`),
    h("p", {}, badge(cdr.outcome, word("outcome", cdr.outcome))), h("p", {}, why({reason: cdr.reason, message: cdr.message}, current())),
    h("dl", {}, [[t("detail.began"), time(cdr.start_time)], [t("detail.connected"), time(cdr.connect_time)], [t("detail.ended"), time(cdr.end_time)],
      [t("history.talk"), lasts(cdr.talk_ms)], [t("live.kind"), word("kind", cdr.kind)], [t("live.agent"), cdr.agent ?? "–"],
      ["SIP", cdr.sip_code ?? "–"], ["Call-ID", cdr.sip_call_ids.join(", ") || "–"]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))))));
}

// messages shows the SIP messages that were kept of a call, and again as it goes on.
async function messages(main, {may, signal, fail}, id, path, legs, refreshed) {
  if (!may("admin")) return;
  const drawn = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": t("ladder.title")});
  const list = h("div", {id: "messages"});
  const note = h("p", {role: "status", id: "traced"});
  const file = (format, accept) => h("button", {type: "button", id: `save-${format}`, onclick: async () => {
    try {
      save(await load(`${path}/messages?format=${format}`, accept, signal), `${id}.${format === "text" ? "txt" : format}`);
    } catch (error) { if (!signal.aborted) fail(error); }
  }}, t(`ladder.${format}`));
  const files = h("div", {class: "actions", hidden: true}, file("pcap", "application/vnd.tcpdump.pcap"), file("text", "text/plain"));
  const again = h("button", {type: "button", id: "again", onclick: () => read().catch(fail)}, t("ladder.again"));
  main.append(h("section", {class: "card", "aria-labelledby": "ladder"},
    h("div", {class: "head"}, h("h2", {id: "ladder"}, t("ladder.title")), again), note, files, drawn, list));

  async function read() {
    let kept;
    try {
      kept = await ask("GET", `${path}/messages`, undefined, {signal, headers: {Accept: "application/json"}});
    } catch (error) {
      if (!(error instanceof Problem) || ![404, 409].includes(error.status)) throw error;
      say(note, error.code === "not_traced" ? t("ladder.off") : error.message);
      return;
    }
    say(note, t("ladder.count", {count: kept.data.length}) + (kept.dropped ? ` ${t("ladder.dropped", {count: kept.dropped})}` : ""));
    files.hidden = kept.data.length === 0;
    const items = kept.data.map((message, i) => h("details", {class: "message", id: `m${i}`},
      h("summary", {}, h("span", {class: "when"}, after(message.at, kept.data[0].at)), " ", message.direction === "in" ? "←" : "→", " ",
        h("span", {class: "hidden"}, t(message.direction === "in" ? "ladder.in" : "ladder.out")), message.leg && `${message.leg} `, message.start_line),
      h("p", {class: "note"}, `${time(message.at)} ${message.transport} ${message.local} ${message.direction === "in" ? "←" : "→"} ${message.remote}`),
      h("pre", {tabindex: "0", "aria-label": message.start_line}, message.message)));
    replace(list, items);
    replace(drawn, ladder(kept.data, legs(), i => {
      items[i].open = true;
      items[i].scrollIntoView({block: "center"});
      items[i].querySelector("summary").focus();
    }));
  }
  refreshed?.addEventListener("end", async () => {
    await sleep(800, signal); // the last responses come behind the end
    if (!signal.aborted) read().catch(fail);
  });
  await read();
}
