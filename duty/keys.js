// The keyboard: everything that the mouse can do, without it.
// Rules of this file: what is typed into a field is typing; letters are verbs, digits are choices, as the buttons show.

import { $, make } from "./basics.js";
import { isAsking, takeDigit } from "./dialog.js";
import { toggleMute } from "./sound.js";

const STEPS = new Set(["j", "k", "ArrowDown", "ArrowUp"]);   // only these may be held down
const TOLD = [["j k 或 ↓ ↑", "选下一条、上一条"], ["Enter", "打开卡片"], ["字母", "按钮上所示的操作"], ["1–9", "卡片或对话框里所示的选项"],
  ["Esc", "关闭对话框或卡片"], ["q", "静音 1 分钟"], ["?", "这份说明"]];

export function prepareKeys({ step, open, close, current, hands, card }) {
  for (const [key, says] of TOLD) $("key-list").append(make("dt", "", key), make("dd", "", says));
  $("help").addEventListener("click", () => $("keys").showModal());
  const actions = { j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1), q: toggleMute,
    "?": () => $("keys").showModal(), Enter: open, Escape: close };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("board").hidden || $("keys").open) return;
    if (event.repeat && event.key === "Enter") return event.preventDefault();
    const isTyping = event.target.matches("input:not([type=checkbox]), textarea, select");
    const isPressing = event.key === "Enter" && event.target.matches("button, a, summary");
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (isTyping || isPressing || (event.repeat && !STEPS.has(key))) return;
    if (takes(key)) event.preventDefault();
  });

  function takes(key) {
    const digit = /^[1-9]$/.test(key) && Number(key);
    if (isAsking()) return digit ? (takeDigit(digit), true) : false;
    if (digit) return card.id !== null && (card.takeDigit(digit), true);
    if (actions[key]) return actions[key](), true;
    const alarm = current();
    return alarm ? hands.takeKey(alarm, key) : false;
  }
}
