// The texts of the page, of which texts.json is the table, in the language of its user.

const table = await (await fetch(new URL("texts.json", import.meta.url))).json();
const kept = "sipxrest-language";

export const languages = {en: "English", de: "Deutsch"};
let language = localStorage.getItem(kept);
if (!languages[language]) language = (navigator.language || "").toLowerCase().startsWith("de") ? "de" : "en";
document.documentElement.lang = language;

export const current = () => language;

export function setLanguage(to) {
  language = to;
  document.documentElement.lang = to;
  localStorage.setItem(kept, to);
}

// has reports whether there is a text.
export const has = key => Object.hasOwn(table, key);

// t returns a text, with values in place of {names}. One that is not there is its key,
// so that a new word of the API is shown as it is.
export function t(key, values = {}) {
  if (!has(key)) return key;
  return table[key][language].replace(/\{(\w+)\}/g, (all, name) => Object.hasOwn(values, name) ? String(values[name]) : all);
}

// word is the text of a word of the API, of a group such as "state".
export function word(group, value) {
  if (value === null || value === undefined || value === "") return "–";
  return has(`${group}.${value}`) ? t(`${group}.${value}`) : String(value);
}

// time is a time of the API in the user's own zone; short without the day.
export function time(text, short = false) {
  if (!text) return "–";
  const clock = {hour: "2-digit", minute: "2-digit", second: "2-digit"};
  return new Date(text).toLocaleString(language, short ? clock : {dateStyle: "short", timeStyle: "medium"});
}

// after is how long after another time one is.
export const after = (text, began) => `+${((new Date(text) - new Date(began)) / 1000).toFixed(3)} s`;

// lasts is a duration in minutes and seconds; unknown is no number.
export function lasts(ms) {
  if (ms === null || ms === undefined) return "–";
  const all = Math.max(0, Math.floor(ms / 1000));
  const two = n => String(n).padStart(2, "0");
  return all < 3600 ? `${Math.floor(all / 60)}:${two(all % 60)}` : `${Math.floor(all / 3600)}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
}
