// The view "Health": what the user may do and how much of it is left, whether a call
// would reach both phones, how the service itself fares, and how webhooks do.

import {badge, field, h, replace, row, say, table} from "./dom.js";
import {ask} from "./api.js";
import {showCheck} from "./view_call.js";
import {t, time, word} from "./texts.js";

export async function health(main, context) {
  const {me, may, signal} = context;
  main.append(await account(signal));
  if (may("check")) main.append(probe(me, signal));
  if (may("admin")) await service(main, context);
  if (may("webhooks:manage")) await webhooks(main, context);
}

// account is who is signed in, as the service says now.
async function account(signal) {
  const me = await ask("GET", "me", undefined, {signal});
  const {limits, events} = me;
  const number = n => n === null || n === undefined ? t("unlimited") : String(n);
  const list = [
    [t("health.name"), `${me.name} (${word("principal", me.type)})`], [t("health.agents"), me.agents.includes("*") ? t("all") : me.agents.join(", ") || "–"],
    [t("health.scopes"), me.scopes.join(", ")], [t("health.expires"), me.expires_at ? time(me.expires_at) : t("never")],
    [t("health.requests"), `${number(limits.requests_left)} / ${number(limits.requests_at_once)}`],
    [t("health.calls"), number(limits.calls)], [t("health.streams"), `${number(limits.streams_left)} / ${number(limits.streams)}`],
    [t("health.store"), word("store", events.store)],
  ];
  return h("section", {class: "card", id: "account"}, h("h2", {}, t("health.you")),
    h("dl", {}, list.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

// probe asks both phones by OPTIONS whether a call would reach them. Nobody rings.
function probe(me, signal) {
  const calling = h("input", {name: "calling", required: true, autocomplete: "off", value: me.agent?.user ?? ""});
  const called = h("input", {name: "called", required: true, autocomplete: "off"});
  const result = h("div", {class: "verdict", role: "status", id: "probed"});
  const button = h("button", {}, t("health.probe.do"));
  return h("section", {class: "card"}, h("h2", {}, t("health.probe")), h("p", {class: "note"}, t("health.probe.note")),
    h("form", {id: "probe", async onsubmit(event) {
      event.preventDefault();
      button.disabled = true;
      replace(result, h("p", {}, t("wait")));
      try {
        showCheck(result, await ask("POST", "check", {calling: calling.value.trim(), called: called.value.trim(), probe: true}, {signal}));
      } catch (error) {
        if (!signal.aborted) replace(result, h("p", {class: "failed"}, error.message));
      } finally {
        button.disabled = false;
      }
    }}, h("div", {class: "pair"}, field(t("call.calling"), calling), field(t("call.called"), called)), button), result);
}

// service is how the service itself fares: SIP servers, certificates, limits, Talk.
async function service(main, {signal, fail}) {
  const state = h("div", {id: "service-state"});
  const again = h("button", {type: "button", onclick: () => read().catch(fail)}, t("ladder.again"));
  main.append(h("section", {class: "card", id: "service"}, h("div", {class: "head"}, h("h2", {}, t("service")), again), state));

  async function read() {
    const now = await ask("GET", "health", undefined, {signal});
    replace(state,
      h("p", {role: "status", id: "service-status"}, badge(now.status, word("service", now.status)), " ", h("small", {}, now.version)),
      h("h3", {}, t("service.proxies")), now.proxies.length === 0 ? h("p", {class: "note"}, t("service.unchecked"))
        : table(t("service.proxies"), [t("service.proxy"), t("webhook.state"), t("service.since"), t("service.asked"), t("service.trip"), t("webhook.error")],
          now.proxies.map(p => row([`${p.transport}:${p.address}`, h("br"), h("small", {}, p.proxy)], badge(p.up ? "ok" : "bad", t(p.up ? "service.up" : "service.down")),
            time(p.since), time(p.checked_at), p.round_trip_ms === null ? "–" : `${p.round_trip_ms} ms`, p.failure ? h("span", {lang: "en"}, p.failure) : "–"))),
      h("h3", {}, t("service.certificates")), now.certificates.length === 0 ? h("p", {class: "note"}, t("service.none"))
        : table(t("service.certificates"), [t("health.name"), t("service.uses"), t("service.issuer"), t("service.until"), t("webhook.state")], now.certificates.map(certificate)),
      h("h3", {}, t("service.limits")),
      h("div", {class: "numbers"}, table(t("service.limits"), [t("service.limit"), t("service.used"), t("service.most")],
        now.limits.map(l => row(h("code", {}, l.name), String(l.used), l.most === null ? t("unlimited") : String(l.most))))),
      h("h3", {}, t("service.talk")), now.talk_servers.length === 0 ? h("p", {class: "note"}, t("service.none"))
        : table(t("service.talk"), [t("service.server"), t("service.nextcloud"), t("webhook.state"), t("webhook.error")],
          now.talk_servers.map(s => row(s.server, s.nextcloud, badge(s.connected ? "ok" : "bad", t(s.connected ? "service.up" : "service.down")),
            s.error ? h("span", {lang: "en"}, s.error) : "–"))));
  }

  const soon = 30 * 86400e3; // in ms: a certificate that ends by then is to be renewed
  function certificate(c) {
    const kind = c.left_ms < 0 ? "bad" : c.left_ms < soon ? "warn" : "ok";
    return row(c.names.join(", ") || c.subject, c.uses.map(use => word("use", use)).join(", ") || "–", c.self_signed ? t("service.selfsigned") : c.issuer,
      time(c.not_after), badge(kind, c.left_ms < 0 ? t("service.ended") : t("service.days", {count: Math.floor(c.left_ms / 86400e3)})));
  }
  await read();
}

// webhooks shows how each one fares. What it could not deliver is sent again by a button.
async function webhooks(main, {signal, fail, tell}) {
  const count = h("p", {role: "status", id: "webhooks-count"});
  const all = table(t("webhooks"), [t("webhook.name"), t("webhook.state"), t("webhook.waiting"), t("webhook.dead"), t("webhook.error"), t("webhook.do")], []);
  const body = all.querySelector("tbody");
  const letters = h("div", {id: "letters"});
  const again = h("button", {type: "button", onclick: () => read().catch(fail)}, t("ladder.again"));
  main.append(h("section", {class: "card", id: "webhooks"}, h("div", {class: "head"}, h("h2", {}, t("webhooks")), again), count, all, letters));

  async function read() {
    const list = [];
    for (let cursor = ""; ;) {
      const page = await ask("GET", `webhooks?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, undefined, {signal});
      list.push(...page.data);
      if (!page.has_more) break;
      cursor = page.next;
    }
    say(count, list.length === 0 ? t("webhook.none") : "");
    all.hidden = list.length === 0;
    replace(body, list.map(line));
  }

  function line(hook) {
    const at = `webhooks/${encodeURIComponent(hook.id)}`;
    const button = (key, does) => h("button", {type: "button", class: key, "aria-label": `${t(`webhook.${key}`)}: ${hook.name}`, async onclick(event) {
      event.target.disabled = true;
      try { await does(); } catch (error) { if (!signal.aborted) fail(error); } finally { event.target.disabled = false; }
    }}, t(`webhook.${key}`));
    const element = row([hook.name, h("br"), h("small", {}, hook.url)],
      badge(hook.status.state, word("hook", hook.status.state)), hook.status.waiting, hook.status.dead, hook.status.last_error ? h("span", {lang: "en"}, hook.status.last_error) : "–",
      h("div", {class: "actions"},
        button("test", async () => {
          const result = await ask("POST", `${at}/test`, {});
          tell(t(result.taken ? "webhook.taken" : "webhook.refused", {name: hook.name, why: result.attempt.status ?? result.attempt.error ?? ""}), result.taken ? "" : "bad");
          await read();
        }),
        button("deliveries", () => deliveries(hook, at)),
        hook.status.dead > 0 && button("replay", async () => {
          const result = await ask("POST", `${at}/replay`, {dead: true});
          tell(t("webhook.replayed", {count: result.queued}));
          await read();
        }),
        hook.status.state === "disabled" && button("enable", async () => { await ask("POST", `${at}/enable`); await read(); })));
    element.dataset.hook = hook.name;
    return element;
  }

  async function deliveries(hook, at) {
    const page = await ask("GET", `${at}/deliveries?limit=100`, undefined, {signal});
    const title = h("h3", {tabindex: "-1"}, t("webhook.letters", {name: hook.name}));
    const send = item => h("button", {type: "button", "aria-label": t("webhook.again.of", {event: item.event_id}), async onclick(event) {
      event.target.disabled = true;
      try {
        const result = await ask("POST", `${at}/replay`, {event_ids: [item.event_id]});
        tell(t("webhook.replayed", {count: result.queued}));
      } catch (error) { if (!signal.aborted) fail(error); }
    }}, t("webhook.again"));
    replace(letters, title, page.data.length === 0 ? h("p", {}, t("webhook.nothing"))
      : table(t("webhook.letters", {name: hook.name}), [t("webhook.event"), t("webhook.state"), t("webhook.since"), t("webhook.tries"), t("webhook.error"), t("webhook.do")],
        page.data.map(item => {
          const last = item.attempts.at(-1);
          return row([word("event", item.type), h("br"), h("small", {}, item.event_id)], badge(item.state, word("delivery", item.state)), time(item.since), item.attempts.length,
            last ? h("span", {lang: "en"}, last.error || `HTTP ${last.status ?? ""}`) : "–", send(item));
        })));
    title.focus();
  }
  await read();
}
