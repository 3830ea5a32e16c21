// One call: how far it is, both phones, and what can be done to it now.

import {badge, field, h, replace, say, select} from "./dom.js";
import {ask, follow, once, Problem} from "./api.js";
import {has, lasts, t, word} from "./texts.js";

// nameOf is whom a leg leads to, for people.
export const nameOf = leg => leg.display ? `${leg.display} (${leg.address})` : leg.address;

// why is the end of a call as a sentence: in German by its reason, and what the service
// says of this call. That is English.
export function why(end, language) {
  if (!end) return [];
  const own = language !== "en" && has(`reason.${end.reason}`) ? h("span", {}, t(`reason.${end.reason}`), " ") : null;
  return [own, h("span", {lang: "en", class: own ? "note" : null}, end.message || end.reason)];
}

// callPanel shows a call and follows it until signal. each is told each event.
export function callPanel(id, context, language, each = () => {}) {
  const {signal, tell, fail, connected, may} = context;
  const path = `calls/${encodeURIComponent(id)}`;
  let call = null;

  const title = h("h2", {tabindex: "-1", id: "panel"}, t("call.of"));
  const state = h("p", {class: "state", role: "status", id: "state"});
  const clock = h("span", {class: "clock", "aria-hidden": "true"});
  const legs = h("div", {class: "legs"});
  const end = h("p", {id: "end"});
  const button = (name, does, kind = "", how = act) => h("button", {type: "button", id: name, class: kind, onclick: () => actOnce(name, does, how)}, t(`act.${name}`));

  const hangup = button("hangup", () => ask("DELETE", path), "bad", actNow); // whatever is under way
  const hold = button("hold", () => ask("POST", `${path}/actions/${first("called")?.held ? "unhold" : "hold"}`));
  const mute = button("mute", () => ask("POST", `${path}/actions/${first("calling")?.muted ? "unmute" : "mute"}`));
  const open = h("a", {href: `#/calls/${encodeURIComponent(id)}`, class: "button"}, t("call.detail"));

  const digits = h("input", {name: "digits", id: "digits", inputmode: "tel", pattern: "[0-9*#A-Da-d]{1,32}", maxlength: "32", required: true, autocomplete: "off", size: "12"});
  const sendDigits = h("button", {}, t("act.dtmf.send"));
  const dial = text => act(() => ask("POST", `${path}/actions/dtmf`, {digits: text}, once()).then(answer => tell(t("act.dtmf.sent", {digits: text.slice(0, answer.sent ?? text.length)}))));
  const pad = h("div", {class: "pad", role: "group", "aria-label": t("act.dtmf")},
    [..."123456789*0#"].map(key => h("button", {type: "button", "aria-label": t("act.dtmf.key", {key}), onclick: () => dial(key)}, key)));
  const keys = h("form", {class: "card", onsubmit(event) { event.preventDefault(); dial(digits.value.toUpperCase()); digits.value = ""; }},
    h("h3", {}, t("act.dtmf")), field(t("act.dtmf.digits"), digits), sendDigits, pad);

  const target = h("input", {name: "to", id: "to", required: true, autocomplete: "off", list: "people"});
  const mode = select("mode", [["blind", t("transfer.blind")], ["attended", t("transfer.attended")]], "blind");
  const leaver = select("leaver", [["calling", t("transfer.leaver.calling")], ["called", t("transfer.leaver.called")]], "calling");
  mode.id = "mode";
  const startTransfer = h("button", {id: "transfer"}, t("act.transfer.do"));
  const transfers = h("ul", {class: "plain", id: "transfers"});
  const transfer = h("form", {class: "card", onsubmit(event) {
    event.preventDefault();
    const wanted = {to: target.value.trim(), mode: mode.value, leaver: leaver.value};
    actOnce("transfer", () => ask("POST", `${path}/transfers`, wanted, once()));
  }}, h("h3", {}, t("act.transfer")), field(t("transfer.to"), target), field(t("transfer.mode"), mode, t("transfer.mode.hint")),
    field(t("transfer.leaver"), leaver), startTransfer, transfers);
  const more = h("div", {class: "columns"}, keys, transfer);
  const can = may("calls:write");

  const first = role => call?.legs.find(leg => leg.role === role && leg.state !== "ended") ||
    call?.legs.filter(leg => leg.state !== "ended")[role === "called" ? 1 : 0];

  // actNow does something and shows the call after it.
  async function actNow(does) {
    if (signal.aborted) return;
    try {
      await does();
      await refresh();
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
  }

  // act does one thing after another. What is wanted while a phone is slow to agree to
  // something else is not forgotten.
  let before = Promise.resolve();
  function act(does) {
    before = before.then(() => actNow(does));
    return before;
  }

  // actOnce has a button do nothing more until what it was pressed for is done: nobody
  // means that twice.
  const pending = new Set();
  function actOnce(name, does, how = act) {
    if (pending.has(name)) return;
    pending.add(name);
    how(does).finally(() => pending.delete(name));
  }

  // refresh reads the call with what the user can do now: events go to several
  // readers, so they do not say.
  async function refresh() {
    const now = await ask("GET", path, undefined, {signal});
    if (!call || now.version >= call.version) show(now);
  }
  let waits = false;
  async function soon() {
    if (waits || signal.aborted) return;
    waits = true;
    setTimeout(() => { waits = false; if (!signal.aborted) refresh().catch(fail); }, 60);
  }

  function sentence() {
    if (call.state === "ended") return t("state.ended");
    const ringing = call.legs.findLast(leg => leg.state === "ringing" && leg.role !== "consult" && leg.role !== "target");
    if (ringing && call.state !== "connected") return t("call.rings", {who: ringing.display || ringing.address});
    return t(`state.${call.state}.long`);
  }

  function show(now) {
    const actions = now.actions ?? call?.actions ?? [];
    call = {...now, actions};
    say(title, call.legs.slice(0, 2).map(leg => leg.display || leg.address).join(" → "));
    say(state, sentence());
    state.dataset.state = call.state;
    replace(legs, call.legs.map(legCard));
    replace(end, why(call.end, language));
    const over = call.state === "ended", able = name => can && !over && actions.includes(name);
    const enable = (element, yes) => {
      if (!yes && element.contains(document.activeElement)) title.focus(); // the focus is never lost
      element.disabled = !yes;
    };
    enable(hangup, able("hangup"));
    const held = first("called")?.held === true, muted = first("calling")?.muted === true;
    say(hold, t(held ? "act.unhold" : "act.hold"));
    say(mute, t(muted ? "act.unmute" : "act.mute"));
    hold.setAttribute("aria-pressed", held);
    mute.setAttribute("aria-pressed", muted);
    enable(hold, able("hold") || able("unhold"));
    enable(mute, able("mute") || able("unmute"));
    for (const element of [digits, sendDigits, ...pad.children]) enable(element, able("dtmf"));
    for (const element of [target, mode, leaver, startTransfer]) enable(element, able("transfer"));
    replace(transfers, (call.transfers ?? []).map(transferItem));
    more.hidden = over || !can;
    buttons.hidden = over || !can;
    tick();
  }

  function legCard(leg) {
    return h("section", {class: "leg", "data-leg": leg.id, "data-state": leg.state},
      h("h3", {}, word("role", leg.role)),
      h("p", {class: "address"}, nameOf(leg)),
      h("p", {}, badge(leg.state, word("leg", leg.state)), leg.held && badge("held", t("leg.held")), leg.muted && badge("muted", t("leg.muted"))),
      leg.end && h("p", {class: "note"}, word("reason", leg.end.reason), leg.end.sip?.code ? ` (SIP ${leg.end.sip.code})` : ""));
  }

  function transferItem(item) {
    const goes = item.end === null && !["completed", "failed", "cancelled"].includes(item.state);
    const at = `${path}/transfers/${encodeURIComponent(item.id)}`;
    return h("li", {"data-transfer": item.state},
      h("span", {}, t("transfer.item", {mode: word("transfer", item.mode), to: item.to || item.with_call || ""}), " ", badge(item.state, word("transferstate", item.state))),
      item.end?.message && h("span", {class: "note", lang: "en"}, ` ${item.end.message}`),
      goes && can && item.state === "consulting" && h("button", {type: "button", class: "complete", onclick: () => actOnce(`complete ${item.id}`, () => ask("POST", `${at}/complete`))}, t("transfer.complete")),
      goes && can && h("button", {type: "button", class: "cancel", onclick: () => actOnce(`cancel ${item.id}`, () => ask("DELETE", at))}, t("transfer.cancel")));
  }

  function tick() {
    if (!call) return;
    const from = call.connected_at || call.created_at;
    say(clock, call.state === "ended" ? lasts(call.talk_ms) : lasts(Date.now() - new Date(from)));
  }
  const timer = setInterval(tick, 1000);
  signal.addEventListener("abort", () => clearInterval(timer));

  const buttons = h("div", {class: "actions"}, hangup, hold, mute);
  const panel = h("section", {class: "card call", "aria-labelledby": "panel"},
    h("div", {class: "head"}, title, clock), state, legs, end, h("div", {class: "actions"}, buttons, open), more);

  async function run() {
    try {
      await refresh();
    } catch (error) {
      if (error instanceof Problem && error.status === 404) { say(state, t("call.gone")); more.hidden = buttons.hidden = true; return; }
      throw error;
    }
    await follow(`${path}/events`, {signal, live: connected, each(event) {
      each(event);
      const now = event.data?.call;
      if (!now || call && now.version < call.version) return;
      show({...now, actions: call?.actions});
      soon();
    }});
    connected(true);
    if (!signal.aborted) await refresh();
  }
  run().catch(error => { if (!signal.aborted) fail(error); });
  return {panel, title, open};
}
