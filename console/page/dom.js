// Elements of a page. Whatever is put into one is text: nothing here reads markup, so
// no name of a telephone can bring elements or scripts of its own.

const SVG = "http://www.w3.org/2000/svg";

// h returns an element with attributes, handlers ("onclick") and children: elements,
// texts, or lists of them. null and false are left out.
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// svg is h for a drawing.
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

// replace puts children in place of all that an element has.
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

// say changes a text, only if it is another: a live region would read it again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let ids = 0;

// field is an input with its label. hint is a text below it that is read with it.
export function field(label, input, hint) {
  input.id ||= `f${++ids}`;
  const help = hint && h("small", {id: `${input.id}-hint`}, hint);
  if (help) input.setAttribute("aria-describedby", help.id);
  return h("div", {class: "field"}, h("label", {for: input.id}, label), input, help);
}

// select is a choice among [value, text] pairs.
export function select(name, options, value = "") {
  const element = h("select", {name}, options.map(([value, text]) => h("option", {value}, text)));
  element.value = value;
  return element;
}

// table is a table with a caption for screen readers, heads and rows of cells. A cell
// that is an object with "row" true is the head of its row. It scrolls by itself.
export function table(caption, heads, rows) {
  return h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
    h("table", {},
      h("caption", {class: "hidden"}, caption),
      h("thead", {}, h("tr", {}, heads.map(head => h("th", {scope: "col"}, head)))),
      h("tbody", {}, rows)));
}

// row is one of a table; its first cell is its head.
export function row(first, ...cells) {
  return h("tr", {}, h("th", {scope: "row"}, first), cells.map(cell => h("td", {}, cell)));
}

// badge is a word that has a colour of its kind; the word alone says all.
export function badge(kind, text) {
  return h("span", {class: `badge ${kind}`}, text);
}

// save has the browser keep a file.
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = h("a", {href: address, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
