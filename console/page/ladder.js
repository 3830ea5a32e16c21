// A ladder of SIP messages, drawn: the service in a lane of its own, each phone's leg
// in another. The list of messages below it has the same for who does not see it.

import {svg} from "./dom.js";
import {after, t} from "./texts.js";

const lane = 230; // between two lanes
const step = 34; // between two messages
const top = 64;
const gutter = 96; // for times

// laneOf is by what a message is put into a lane: its leg, else who it goes to.
const laneOf = message => message.leg || message.remote;

const cut = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

// label is what stands on an arrow: the method, or the code and its reason.
export function label(line) {
  const response = /^SIP\/2\.0 (\d{3} ?.*)$/.exec(line);
  return response ? response[1] : line.split(" ", 1)[0];
}

// ladder draws messages, of calls with legs. open is told which one was clicked.
export function ladder(messages, legs, open) {
  if (messages.length === 0) return [];
  const keys = [...new Set(messages.map(laneOf))];
  // The first leg stands to the left of the service, all others to its right.
  const at = key => keys.indexOf(key) === 0 ? 0 : keys.indexOf(key) + 1;
  const x = n => gutter + 90 + n * lane;
  const service = x(1);
  const width = x(Math.max(1, keys.length)) + 90;
  const height = top + messages.length * step + 20;
  const head = (n, name, below) => [
    svg("text", {x: x(n), y: 20, class: "lane", "text-anchor": "middle"}, cut(name, 30)),
    svg("text", {x: x(n), y: 38, class: "small", "text-anchor": "middle"}, cut(below, 34)),
    svg("line", {x1: x(n), y1: top - 16, x2: x(n), y2: height - 4, class: "life"}),
  ];
  const lanes = keys.flatMap(key => {
    const leg = legs.find(leg => leg.id === key);
    const remotes = [...new Set(messages.filter(message => laneOf(message) === key).map(message => `${message.transport} ${message.remote}`))];
    return head(at(key), leg ? leg.display || leg.address : key, remotes.join(", "));
  });
  const began = messages[0].at;
  const arrows = messages.map((message, i) => {
    const y = top + (i + 0.6) * step;
    const phone = x(at(laneOf(message)));
    const [from, to] = message.direction === "in" ? [phone, service] : [service, phone];
    const side = Math.sign(to - from);
    const response = message.start_line.startsWith("SIP/2.0 ");
    const failed = /^SIP\/2\.0 [3-6]/.test(message.start_line);
    return svg("g", {class: `arrow ${response ? "response" : "request"}${failed ? " failed" : ""}`, onclick: () => open(i)},
      svg("title", {}, message.start_line),
      svg("rect", {x: 0, y: y - step / 2 - 4, width, height: step, class: "hit"}),
      svg("text", {x: 8, y: y + 4, class: "small"}, after(message.at, began)),
      svg("line", {x1: from, y1: y, x2: to - side * 2, y2: y, class: "shaft"}),
      svg("path", {d: `M${to} ${y} l${-side * 9} -4.5 v9 z`, class: "tip"}),
      svg("text", {x: (from + to) / 2, y: y - 6, class: "label", "text-anchor": "middle"}, cut(label(message.start_line), 32)));
  });
  return svg("svg", {class: "ladder", role: "img", "aria-label": t("ladder.drawn", {count: messages.length}), width, height, viewBox: `0 0 ${width} ${height}`},
    head(1, "sipxrest", ""), lanes, arrows);
}
