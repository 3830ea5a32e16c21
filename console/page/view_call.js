// The view "Call": a call is tried without a phone, placed, followed and steered.

import {badge, field, h, replace, say, select} from "./dom.js";
import {ask, once} from "./api.js";
import {callPanel} from "./callpanel.js";
import {current, t, word} from "./texts.js";

// last is what was entered, for when the view is shown again.
const last = {};

export async function call(main, context, [id]) {
  const {me, may, signal} = context;
  const calling = h("input", {name: "calling", required: true, autocomplete: "off", list: "people", value: last.calling ?? me.agent?.user ?? ""});
  const called = h("input", {name: "called", required: true, autocomplete: "off", list: "people", value: last.called ?? ""});
  const flow = select("flow", ["auto", "invite", "refer"].map(value => [value, t(`flow.${value}`)]), last.flow ?? "auto");
  const subject = h("input", {name: "subject", maxlength: "200", autocomplete: "off", value: last.subject ?? ""});
  const timeout = h("input", {name: "timeout", type: "number", min: "1", max: "3600", step: "1", value: last.timeout ?? ""});
  const answers = h("input", {name: "auto_answer", type: "checkbox", checked: last.auto_answer});
  const people = h("datalist", {id: "people"});
  const verdict = h("div", {class: "verdict", role: "status", id: "verdict"});
  const place = h("button", {class: "main", id: "place"}, t("call.do"));
  const failed = h("p", {class: "failed", role: "alert", id: "refused"});

  const order = () => {
    const body = {calling: calling.value.trim(), called: called.value.trim(), flow: flow.value};
    if (subject.value.trim()) body.subject = subject.value.trim();
    if (timeout.value) body.timeout_ms = Number(timeout.value) * 1000;
    if (answers.checked) body.auto_answer = true;
    return body;
  };

  // The last check alone is shown, and it begins once nothing is typed for a moment.
  let tries = 0;
  let timer = 0;
  function tryLater() {
    clearTimeout(timer);
    const mine = ++tries;
    const body = order();
    Object.assign(last, body, {timeout: timeout.value, subject: subject.value, auto_answer: answers.checked});
    failed.textContent = "";
    if (!may("check") || !body.calling || !body.called) { replace(verdict); return; }
    timer = setTimeout(async () => {
      try {
        const result = await ask("POST", "check", body, {signal});
        if (mine === tries && !signal.aborted) showCheck(verdict, result);
      } catch (error) {
        if (mine === tries && !signal.aborted) replace(verdict, h("p", {}, error.message));
      }
    }, 400);
  }

  const form = h("form", {
    class: "card dial", id: "dial", "aria-label": t("view.call"), oninput: tryLater,
    async onsubmit(event) {
      event.preventDefault();
      failed.textContent = "";
      place.disabled = true;
      try {
        const made = await ask("POST", "calls", order(), once());
        location.hash = `#/call/${encodeURIComponent(made.id)}`;
      } catch (error) {
        if (signal.aborted) return;
        say(failed, error.message);
        const existing = error.document?.existing || error.document?.call_id;
        if (existing && may("calls:read")) failed.append(" ", h("a", {href: `#/call/${encodeURIComponent(existing)}`}, t("call.existing")));
        const at = error.document?.errors?.map(fault => fault.pointer?.slice(1)).find(name => form.elements[name]);
        (form.elements[at] ?? called).focus();
      } finally {
        place.disabled = false;
      }
    },
  },
  h("div", {class: "pair"}, field(t("call.calling"), calling, t("call.calling.hint")), field(t("call.called"), called, t("call.called.hint"))),
  h("details", {}, h("summary", {}, t("call.options")),
    h("div", {class: "pair"}, field(t("call.flow"), flow), field(t("call.subject"), subject), field(t("call.timeout"), timeout),
      h("label", {class: "choice"}, answers, t("call.auto_answer")))),
  verdict, failed, place, people);
  main.append(form);

  if (id) {
    const {panel, title} = callPanel(id, context, current());
    main.append(panel);
    title.focus();
  }
  if (called.value && !id) tryLater(); // else the call that is shown would be a conflict
  if (may("users:read") && me.type === "key") {
    const page = await ask("GET", "users?limit=100", undefined, {signal});
    replace(people, page.data.map(user => h("option", {value: user.user}, user.display_name ?? user.address)));
  }
}

// showCheck shows what would come of a call.
export function showCheck(element, result) {
  const kind = {no_objection: "good", may_fail: "warn", will_fail: "bad"}[result.verdict] ?? "";
  const bad = result.steps.filter(step => step.ok !== true && (step.detail || step.code));
  const steps = list => h("ul", {class: "steps"}, list.map(step => h("li", {"data-ok": String(step.ok)},
    badge({true: "good", false: "bad"}[step.ok] ?? "warn", word("ok", String(step.ok))), " ",
    h("strong", {}, word("step", step.step)), step.detail && h("span", {lang: "en"}, ` – ${step.detail}`))));
  replace(element, h("p", {"data-verdict": result.verdict}, badge(kind, word("verdict", result.verdict))),
    bad.length > 0 && steps(bad),
    h("details", {}, h("summary", {}, t("check.all", {count: result.steps.length})), steps(result.steps)));
}
