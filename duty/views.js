// The list on the screen: the open alarms as they are known, or those that are shelved or closed as they were read.
// Rules of this file: drawn once a frame at most; never more than MOST lines; while a dialog stands open no line
// moves, comes or goes, and none for a moment while the pointer is on its way to press a button; a line that was
// selected by itself, because the one before it went, takes no order until somebody chose it.

import { $, call, desk, put, tell } from "./basics.js";
import { isAsking } from "./dialog.js";
import { fillRow, makeRow, runClock } from "./rows.js";

export const MOST = 300;
const AGAIN_MS = 1500, LONGEST_LIST = 200;
const AIM_MS = 400, LONGEST_AIM_MS = 800;
const CALM = { open: "现在没有未关闭的报警", shelved: "没有搁置的报警", closed: "没有已关闭的报警" };

export class List {
  #known;
  #hands;
  #on;                                    // open(alarm): a line was pressed; holds(): the card holds the selection
  #rows = new Map();                      // alarm_id -> its line
  #frame = 0;
  #timer = 0;
  #read = null;                           // what was read of another view
  #isMeant = false;                       // somebody chose the selected line; it did not come in the place of one that went
  #place = 0;                             // of the selected line, in case it goes
  #aimedAt = -Infinity;                   // performance.now() when the pointer moved over a button
  #heldAt = 0;                            // since when lines wait for that; 0: they do not
  #held = 0;
  view = "open";
  selected = null;

  constructor(known, hands, on) {
    [this.#known, this.#hands, this.#on] = [known, hands, on];
    for (const button of $("views").children) button.addEventListener("click", () => this.turnTo(button.dataset.view));
    $("alarms").addEventListener("pointermove", (event) => { if (event.target.closest("button")) this.#aimedAt = performance.now(); });
  }

  turnTo(view) {
    this.view = view;
    this.#read = null;
    for (const button of $("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
    if (view !== "open") this.#readView();
    this.drawSoon();
  }

  drawSoon() {
    this.#frame ||= requestAnimationFrame(() => { this.#frame = 0; this.#draw(); });
  }

  // An alarm came, changed or went: the other views are read again, not more often than needed.
  changed() {
    if (this.view !== "open" && !this.#timer) this.#timer = setTimeout(() => { this.#timer = 0; this.#readView(); }, AGAIN_MS);
    this.drawSoon();
  }

  tick() {
    for (const row of this.#rows.values()) runClock(row.parts, row.alarm);
  }

  clear() {
    this.#rows.clear();
    this.selected = null;
    $("alarms").replaceChildren();
  }

  get(id) {
    return this.#known.get(id) ?? this.#rows.get(id)?.alarm ?? null;
  }

  // The line that letters may act on: one that came in another's place was not looked at yet.
  get meant() {
    return this.#isMeant ? this.selected : null;
  }

  select(id, isMeant = true) {
    this.#rows.get(this.selected)?.setAttribute("aria-selected", "false");
    [this.selected, this.#isMeant] = [id, isMeant];
    const row = this.#rows.get(id);
    row?.setAttribute("aria-selected", "true");
    row?.scrollIntoView({ block: "nearest" });
  }

  step(by) {
    const lines = [...$("alarms").rows], at = this.#selectedPlace(lines);
    const wanted = at >= 0 ? at + (this.#isMeant ? by : 0) : this.selected === null ? 0 : this.#place;
    const next = lines[Math.max(0, Math.min(lines.length - 1, wanted))];
    if (next) this.select(next.alarm.alarm_id);
    return next?.alarm ?? null;
  }

  #isAimedAt() {
    const now = performance.now(), isAimedAt = now - this.#aimedAt < AIM_MS && now - (this.#heldAt ||= now) < LONGEST_AIM_MS;
    clearTimeout(this.#held);
    if (isAimedAt) this.#held = setTimeout(() => this.drawSoon(), this.#aimedAt + AIM_MS - now);
    else this.#heldAt = 0;
    return isAimedAt;
  }

  #selectedPlace(lines) {
    return lines.findIndex((row) => row.alarm.alarm_id === this.selected);
  }

  async #readView() {
    const { view } = this;
    if (view === "open" || !desk.words) return;
    try {
      const { alarms } = await call(`alarms?state=${view}&limit=${LONGEST_LIST}`);
      if (this.view === view) this.#read = alarms;
    } catch (error) { tell(error.message); }
    this.drawSoon();
  }

  #draw() {
    if (!desk.words) return;
    const lines = this.view === "open" ? this.#known.lines(MOST) : (this.#read ?? []).map((alarm) => ({ alarm, under: false }));
    if (isAsking() || this.#isAimedAt()) return this.#fillOnly();
    const shown = new Set(lines.map(({ alarm }) => alarm.alarm_id)), place = this.#selectedPlace([...$("alarms").rows]);
    if (place >= 0) this.#place = place;
    for (const [id, row] of this.#rows) if (!shown.has(id)) { row.remove(); this.#rows.delete(id); }
    let at = $("alarms").firstChild;
    for (const { alarm, under } of lines) {
      const row = this.#rows.get(alarm.alarm_id) ?? makeRow(this.#hands, this.#on);
      this.#rows.set(alarm.alarm_id, row);
      fillRow(row, alarm, under);
      if (row === at) at = at.nextSibling; else $("alarms").insertBefore(row, at);
    }
    // Where the selected line went, the next one takes its place; not under an open card.
    const isGone = this.selected !== null && !shown.has(this.selected);
    if (isGone && !this.#on.holds()) this.select(lines[Math.min(this.#place, lines.length - 1)]?.alarm.alarm_id ?? null, false);
    else this.#rows.get(this.selected)?.setAttribute("aria-selected", "true");
    $("calm").hidden = lines.length > 0 || (this.view !== "open" && !this.#read);   // not read is not empty
    put($("calm"), CALM[this.view]);
  }

  #fillOnly() {
    for (const [id, row] of this.#rows) fillRow(row, this.#known.get(id) ?? row.alarm, row.isUnder);
  }
}
