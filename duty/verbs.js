// What may be done about an alarm: the buttons with their keys, and carrying a verb out.
// Rules of this file: the server says what is legal, and what the role may; a move's answer is shown at once.

import { call, desk, makeButton } from "./basics.js";

const KEYS = { acknowledge: "a", dispatch: "d", arrive: "v", close: "c", assign: "g", note: "n", merge: "m",
  shelve: "s", unshelve: "u", reopen: "r" };
const AT_ONCE = new Set(["acknowledge", "arrive", "unshelve"]);   // these ask for nothing

export function keyOf(code) {
  return KEYS[code] ?? "";
}

export function isLegal(alarm, code) {
  const may = desk.words.may ?? desk.words.verbs.map((verb) => verb.code);
  return alarm.verbs.includes(code) && may.includes(code) && !(code === "shelve" && alarm.class === "life");
}

export function verbsOf(alarm) {
  return desk.words.verbs.filter(({ code }) => isLegal(alarm, code));
}

export class Hands {
  // Carries out what buttons and keys say: `ask(alarm, verb, zh)` opens the dialog, `moved(alarm, before)` shows an alarm
  // as it is after a move, `failed(alarm, error)` says why there was none.
  #sent = new Set();                      // the orders that travel

  constructor({ ask, moved, failed }) {
    Object.assign(this, { ask, moved, failed });
  }

  button({ code, zh }, alarmOf) {
    const button = makeButton(zh, keyOf(code), () => this.take(alarmOf(), code));
    button.dataset.verb = code;
    return button;
  }

  take(alarm, code) {
    const verb = desk.words.verbs.find((each) => each.code === code);
    if (!verb || !isLegal(alarm, code)) return;
    if (AT_ONCE.has(code)) this.move(alarm, code, {}).catch((error) => this.failed(alarm, error));
    else this.ask(alarm, code, verb.zh);
  }

  takeKey(alarm, key) {
    const code = Object.keys(KEYS).find((each) => KEYS[each] === key);
    if (!code) return false;
    this.take(alarm, code);
    return true;
  }

  // The version as it was seen: a call for help after it refuses the closing.
  close(alarm, outcome) {
    this.move(alarm, "close", { outcome, version: alarm.version }).catch((error) => this.failed(alarm, error));
  }

  async move(alarm, code, said) {
    const order = `alarms/${alarm.alarm_id}/${code}`;
    if (this.#sent.has(order)) return null;   // pressed twice
    this.#sent.add(order);
    try {
      const after = await call(order, said);
      this.moved(after, alarm);
      return after;
    } finally { this.#sent.delete(order); }
  }
}
