// The view "History": records of calls that are over, to search, and as CSV.

import {badge, field, h, replace, row, say, save, select, table} from "./dom.js";
import {ask, load} from "./api.js";
import {why} from "./callpanel.js";
import {current, lasts, t, time, word} from "./texts.js";

const outcomes = ["completed", "handed_over", "no_answer", "busy", "declined", "unreachable", "cancelled", "failed", "merged", "unknown"];
const columns = "call_id,start_time,connect_time,end_time,kind,agent,caller_aor,callee_aor,outcome,reason,sip_code,ring_ms,talk_ms,message";
const exported = 100000; // records of one CSV

export async function history(main, context) {
  const {signal, fail, may, tell} = context;
  const user = h("input", {name: "user", autocomplete: "off"});
  const caller = h("input", {name: "caller", autocomplete: "off"});
  const callee = h("input", {name: "callee", autocomplete: "off"});
  const outcome = select("outcome", [["", t("all")], ...outcomes.map(value => [value, word("outcome", value)])]);
  const after = h("input", {name: "start_after", type: "datetime-local"});
  const before = h("input", {name: "start_before", type: "datetime-local"});
  const count = h("p", {role: "status", id: "found"});
  const failed = h("p", {class: "failed", role: "alert"});
  const found = table(t("view.history"), [t("detail.began"), t("history.caller"), t("history.callee"), t("history.outcome"), t("history.talk"), t("history.why")], []);
  const body = found.querySelector("tbody");
  const older = h("button", {type: "button", id: "older", hidden: true, onclick: () => search(next)}, t("history.older"));
  const csv = h("button", {type: "button", id: "csv", onclick: download}, t("history.csv"));
  let next = null;
  let asked = new URLSearchParams();

  main.append(h("form", {class: "filters", id: "search", onsubmit(event) { event.preventDefault(); search(null); }},
    field(t("history.user"), user), field(t("history.caller"), caller), field(t("history.callee"), callee), field(t("history.outcome"), outcome),
    field(t("history.after"), after), field(t("history.before"), before),
    h("div", {class: "actions"}, h("button", {class: "main"}, t("history.search")), csv)), failed, count, found, older);

  function filters() {
    const query = new URLSearchParams();
    for (const input of [user, caller, callee, outcome]) if (input.value.trim()) query.set(input.name, input.value.trim());
    for (const input of [after, before]) if (input.value) query.set(input.name, new Date(input.value).toISOString());
    return query;
  }

  let searches = 0;
  async function search(cursor) {
    const mine = ++searches;
    failed.textContent = "";
    if (!cursor) asked = filters();
    const query = new URLSearchParams(asked);
    query.set("limit", "50");
    if (cursor) query.set("cursor", cursor);
    try {
      const page = await ask("GET", `cdrs?${query}`, undefined, {signal});
      if (mine !== searches) return; // another search was begun
      const lines = page.data.map(line);
      if (cursor) { body.append(...lines); lines[0]?.querySelector("a")?.focus(); } else replace(body, lines);
      next = page.next;
      older.hidden = !page.has_more;
      found.hidden = body.children.length === 0;
      say(count, body.children.length === 0 ? t("history.none") : t("history.count", {count: body.children.length}));
    } catch (error) {
      if (!signal.aborted) say(failed, error.message);
    }
  }

  function line(cdr) {
    const when = time(cdr.start_time);
    const element = row(may("calls:read") ? h("a", {href: `#/calls/${encodeURIComponent(cdr.call_id)}`}, when) : when,
      cdr.caller_aor ?? "–", cdr.callee_aor ?? "–", badge(cdr.outcome, word("outcome", cdr.outcome)), lasts(cdr.talk_ms), why({reason: cdr.reason, message: cdr.message}, current()));
    element.dataset.call = cdr.call_id;
    return element;
  }

  async function download() {
    const query = filters();
    query.set("fields", columns);
    query.set("safe", "1"); // for spreadsheets
    query.set("limit", String(exported));
    csv.disabled = true;
    try {
      const file = await load(`cdrs.csv?${query}`, "text/csv", signal);
      save(file, "calls.csv");
      tell(t("history.saved"));
    } catch (error) {
      if (!signal.aborted) fail(error);
    } finally {
      csv.disabled = false;
    }
  }
  await search(null);
}
