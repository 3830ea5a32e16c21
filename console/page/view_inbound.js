// The view "Inbound": the rules of calls that come in, who may send calls, and what
// would become of one.

import {badge, field, h, replace, row, table} from "./dom.js";
import {ask} from "./api.js";
import {t, word} from "./texts.js";

export async function inbound(main, {signal}) {
  main.append(trial(signal));
  const page = await ask("GET", "inbound/rules", undefined, {signal});
  if (!page.enabled) {
    main.append(h("p", {class: "note", role: "status", id: "rules"}, t("inbound.off")));
    return;
  }
  main.append(
    h("section", {class: "card", id: "rules"}, h("h2", {}, t("inbound.rules")), page.rules.length === 0 ? h("p", {class: "note"}, t("service.none"))
      : table(t("inbound.rules"), [t("inbound.rule"), t("inbound.for"), t("inbound.decides"), t("inbound.else")], page.rules.map(rule))),
    h("section", {class: "card", id: "trunks"}, h("h2", {}, t("inbound.trunks")), page.trunks.length === 0 ? h("p", {class: "note"}, t("service.none"))
      : table(t("inbound.trunks"), [t("health.name"), t("inbound.sources"), t("inbound.hosts"), t("inbound.digest"), t("health.calls")],
        page.trunks.map(trunk => row(trunk.name, trunk.sources.join(", ") || "–", trunk.from_hosts.join(", ") || "–", t(trunk.digest ? "ok.true" : "ok.false"),
          trunk.max_calls || t("unlimited"))))));
}

// rule is one line of the table.
function rule(r) {
  const wants = [["inbound.numbers", r.numbers], ["inbound.callers", r.inbound_numbers], ["inbound.by", r.trunks]]
    .filter(([, list]) => list.length > 0).map(([key, list]) => h("div", {}, `${t(key)}: ${list.join(", ")}`));
  const also = [["inbound.told", r.events], ["inbound.asked", r.decide]].filter(([, list]) => list.length > 0)
    .map(([key, list]) => h("div", {}, h("small", {}, t(key, {events: list.join(", ")}))));
  const element = row([r.name || r.id, h("br"), h("small", {title: r.where}, `${r.id}, ${place(r)}`)], wants.length > 0 ? wants : t("inbound.any"),
    [r.url ? h("div", {}, t("inbound.webhook"), ": ", h("code", {}, r.url)) : h("div", {}, decision(r.decision, r.mode)), also],
    r.fallback ? decision(r.fallback, r.mode) : "–");
  element.dataset.rule = r.id;
  return element;
}

// place is where a rule is written, without the folder.
const place = r => r.where.split("/").at(-1);

// decision is what becomes of a call, in short.
function decision(d, mode) {
  const what = {answer: d.room, transfer: d.to, hangup: [d.sip_code, d.sip_reason].filter(Boolean).join(" ")}[d.action];
  return [word("action", mode === "redirect" && d.action === "transfer" ? "redirect" : d.action), what && ` ${what}`, d.pin_required && ` (${t("inbound.pin")})`];
}

// trial says what would become of a call. Nobody is called.
function trial(signal) {
  const from = h("input", {name: "from", required: true, autocomplete: "off", maxlength: "512"});
  const to = h("input", {name: "to", required: true, autocomplete: "off", maxlength: "512"});
  const trunk = h("input", {name: "trunk", autocomplete: "off", maxlength: "512"});
  const source = h("input", {name: "source", autocomplete: "off"});
  const sends = h("input", {name: "ask", type: "checkbox"});
  const result = h("div", {class: "verdict", role: "status", id: "tried"});
  const button = h("button", {class: "main"}, t("inbound.try.do"));
  return h("section", {class: "card"}, h("h2", {}, t("inbound.try")), h("p", {class: "note"}, t("inbound.try.note")),
    h("form", {id: "try", async onsubmit(event) {
      event.preventDefault();
      const body = {from: from.value.trim(), to: to.value.trim(), ask: sends.checked};
      if (trunk.value.trim()) body.trunk = trunk.value.trim();
      if (source.value.trim()) body.source = source.value.trim();
      button.disabled = true;
      replace(result, h("p", {}, t("wait")));
      try {
        show(result, await ask("POST", "inbound/try", body, {signal}));
      } catch (error) {
        if (!signal.aborted) replace(result, wrong(error).map(text => h("p", {class: "failed"}, text)));
      } finally {
        button.disabled = false;
      }
    }}, h("div", {class: "pair"}, field(t("inbound.from"), from), field(t("inbound.to"), to), field(t("inbound.trunk"), trunk, t("inbound.trunk.hint")),
      field(t("inbound.source"), source, t("inbound.source.hint"))), h("div", {class: "actions"}, h("label", {class: "choice"}, sends, t("inbound.ask")), button)), result);
}

// wrong says what keeps a call from being tried, field by field where that is known.
const wrong = error => error.document?.errors?.map(e => `${word("inbound", e.pointer?.slice(1))}: ${e.detail}`) ?? [error.message];

// show is what a trial came to: the outcome first, then why.
function show(element, trial) {
  const kind = {decided: "good", webhook_not_asked: "warn", fallback: "bad", no_rule: "bad", off: "warn"}[trial.result] ?? "";
  const shown = (key, text) => text && h("details", {}, h("summary", {}, t(key)), h("pre", {lang: "en", tabindex: "0", role: "region", "aria-label": t(key)}, text));
  replace(element,
    h("p", {"data-result": trial.result}, badge(kind, word("trial", trial.result)), " ", h("span", {lang: "en"}, trial.outcome)),
    trial.must_authenticate && h("p", {}, t("inbound.prove")), trial.error && h("p", {class: "failed", lang: "en"}, trial.error),
    trial.rules.length > 0 && table(t("inbound.looked"), [t("inbound.rule"), t("inbound.why")],
      trial.rules.map(r => row([r.name || r.id, h("br"), h("small", {title: r.where}, place(r))],
        r.taken ? badge("good", t("inbound.taken")) : r.why ? h("span", {lang: "en"}, r.why) : t("inbound.less")))),
    shown("inbound.request", trial.request), shown("inbound.answer", trial.answer));
}
