// The page: who is signed in, which views he may see, and which one is shown.

import {h, replace, say} from "./dom.js";
import {ask, onRefused, signedIn, signOut} from "./api.js";
import {current, languages, setLanguage, t} from "./texts.js";
import {signIn} from "./signin.js";
import {call} from "./view_call.js";
import {live} from "./view_live.js";
import {detail} from "./view_detail.js";
import {history} from "./view_history.js";
import {inbound} from "./view_inbound.js";
import {health} from "./view_health.js";

const main = document.getElementById("main");
const menu = document.getElementById("menu");
const who = document.getElementById("who");
const banner = document.getElementById("banner");
const toasts = document.getElementById("toasts");

// views are what there is, by the first part of the address behind "#", and the scope
// without which a view is not shown. Those without a place in the menu have hidden.
const views = {
  call: {show: call, scope: "calls:write"},
  live: {show: live, scope: "events:read"},
  calls: {show: detail, scope: "calls:read", hidden: true},
  history: {show: history, scope: "cdrs:read"},
  inbound: {show: inbound, scope: "admin"},
  health: {show: health, scope: ""},
};

let me = null;
let shown = new AbortController(); // of the current view; aborted when it goes

// may reports whether the user has a scope.
const may = scope => scope === "" || me.scopes.includes(scope) || me.scopes.includes("admin");

// tell shows a message that screen readers read at once, and takes it away later.
function tell(text, kind = "") {
  const note = h("div", {class: `toast ${kind}`}, text,
    h("button", {type: "button", class: "plain", "aria-label": t("close"), onclick: () => note.remove()}, "×"));
  toasts.append(note);
  while (toasts.children.length > 3) toasts.firstChild.remove();
  setTimeout(() => note.remove(), 12000);
}

// fail tells what went wrong; a view that has gone says nothing.
function fail(error) {
  if (error?.name === "AbortError") return;
  console.error(error);
  tell(error?.message || String(error), "bad");
}

function route(focus = true) {
  shown.abort();
  shown = new AbortController();
  const signal = shown.signal;
  say(banner, "");
  say(document.getElementById("skip"), t("skip"));
  top();
  if (!signedIn() || !me) {
    replace(main, signIn({enter, signal}));
    document.title = `${t("signin.title")} – sipxrest`;
    return;
  }
  const [name, ...rest] = location.hash.slice(2).split("/").map(part => { try { return decodeURIComponent(part); } catch { return ""; } });
  const allowed = Object.keys(views).filter(key => may(views[key].scope));
  const key = allowed.includes(name) ? name : allowed[0];
  for (const link of menu.querySelectorAll("a")) {
    const here = link.dataset.view === key;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const title = t(`view.${key}`);
  document.title = `${title} – sipxrest`;
  const heading = h("h1", {tabindex: "-1"}, title);
  const context = {
    me, may, tell, fail, signal,
    heading, // a view may word it
    connected(yes) { if (!signal.aborted) say(banner, yes ? "" : t("stream.lost")); },
  };
  replace(main, heading);
  if (focus) heading.focus();
  try {
    Promise.resolve(views[key].show(main, context, rest)).catch(error => { if (!signal.aborted) fail(error); });
  } catch (error) { fail(error); }
}

// top fills the bar at the top.
function top() {
  menu.setAttribute("aria-label", t("menu"));
  const list = me ? Object.keys(views).filter(key => !views[key].hidden && may(views[key].scope)) : [];
  replace(menu, list.map(key => h("a", {href: `#/${key}`, "data-view": key}, t(`view.${key}`))));
  const choice = h("select", {id: "language", "aria-label": t("language"), onchange: () => { setLanguage(choice.value); route(false); document.getElementById("language").focus(); }},
    Object.entries(languages).map(([value, name]) => h("option", {value, lang: value}, name)));
  choice.value = current();
  const colours = h("select", {id: "colours", "aria-label": t("colours"), onchange: () => colour(colours.value)},
    ["auto", "light", "dark"].map(value => h("option", {value}, t(`colours.${value}`))));
  colours.value = localStorage.getItem("sipxrest-colours") || "auto";
  replace(who, me && h("span", {class: "me"}, me.agent?.display_name || me.name), colours, choice,
    me && h("button", {type: "button", id: "signout", onclick: leave}, t("signout")));
}

function colour(value) {
  localStorage.setItem("sipxrest-colours", value);
  if (value === "auto") delete document.documentElement.dataset.colours;
  else document.documentElement.dataset.colours = value;
}

// enter is called once somebody has signed in, and fails if he is not let in.
async function enter() {
  me = await ask("GET", "me");
  route();
}

function leave() {
  signOut();
  me = null;
  route(false);
  main.querySelector("input")?.focus();
}

onRefused(() => {
  if (!me) return; // the form says so
  leave();
  tell(t("signin.ended"), "bad");
});
addEventListener("hashchange", () => { replace(toasts); route(); });
document.getElementById("skip").addEventListener("click", event => { event.preventDefault(); main.focus(); });

colour(localStorage.getItem("sipxrest-colours") || "auto");
if (signedIn()) await enter().catch(error => {
  if (error.status === 401) signOut(); else fail(error);
  route(false);
});
else route(false);
