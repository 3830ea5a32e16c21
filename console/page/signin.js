// Signing in: by a user and his PIN, or by an API key.

import {field, h} from "./dom.js";
import {signOut, useKey, usePIN} from "./api.js";
import {t} from "./texts.js";

// signIn is the form. enter is called with what was entered in use.
export function signIn({enter, signal}) {
  const user = h("input", {name: "user", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: "false"});
  const pin = h("input", {name: "pin", type: "password", autocomplete: "current-password", required: true});
  const key = h("input", {name: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false"});
  const byPIN = h("div", {}, field(t("signin.user"), user), field(t("signin.pin"), pin));
  const byKey = h("div", {}, field(t("signin.key"), key, t("signin.key.hint")));
  const failed = h("p", {class: "failed", role: "alert"});
  const button = h("button", {class: "main"}, t("signin.do"));
  const choice = (value, text, checked) => h("label", {class: "choice"}, h("input", {type: "radio", name: "by", value, checked, onchange: choose}), text);

  function choose() {
    const keyed = form.elements.by.value === "key";
    byPIN.hidden = keyed;
    byKey.hidden = !keyed;
    user.disabled = pin.disabled = keyed;
    key.disabled = !keyed;
  }

  const form = h("form", {
    class: "card narrow", "aria-labelledby": "signin",
    async onsubmit(event) {
      event.preventDefault();
      failed.textContent = "";
      button.disabled = true;
      try {
        if (form.elements.by.value === "key") useKey(key.value.trim()); else usePIN(user.value.trim(), pin.value);
        await enter();
      } catch (error) {
        signOut();
        if (signal.aborted) return; // another form is shown
        failed.textContent = error.status === 401 ? t("signin.wrong") : error.message;
        (user.disabled ? key : pin).select();
      } finally {
        button.disabled = false;
      }
    },
  },
  h("h1", {id: "signin"}, t("signin.title")),
  h("fieldset", {class: "choices"}, h("legend", {class: "hidden"}, t("signin.by")),
    choice("pin", t("signin.by.pin"), true), choice("key", t("signin.by.key"), false)),
  byPIN, byKey, failed, button, h("p", {class: "note"}, t("signin.note")));
  choose();
  return form;
}
