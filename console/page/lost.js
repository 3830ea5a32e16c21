// Says so when a file of the page could not be had: without its scripts the page would
// stay empty. This is no module, and needs none of the other files.

"use strict";

{
  const words = {
    en: ["A part of this page could not be loaded.", "Reload"],
    de: ["Ein Teil dieser Seite konnte nicht geladen werden.", "Neu laden"],
  };

  // lost tells of the first fault before the page is there. Later ones are its own.
  const lost = event => {
    const main = document.getElementById("main");
    const missing = event.target.localName === "script" || !(event.target instanceof Element); // not a picture
    if (!missing || main.querySelector(":scope > :not(noscript)")) return;
    const language = localStorage.getItem("sipxrest-language") || navigator.language.toLowerCase().slice(0, 2);
    const text = document.createElement("p");
    const again = document.createElement("button");
    [text.textContent, again.textContent] = words[language] ?? words.en;
    text.setAttribute("role", "alert");
    again.id = "reload";
    again.addEventListener("click", () => location.reload());
    main.append(text, again);
  };
  addEventListener("error", lost, true); // those of elements do not bubble
  addEventListener("unhandledrejection", lost);
}
