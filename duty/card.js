// The card of one alarm: who it is, whom to call, what to do, what the rule saw, the vitals, the log.
// Rules of this file: one alarm at a time; its parts are filled in place, so that events neither scroll it nor close
// what was asked for; the address is asked for by a person, never by the page.

import { $, call, desk, make, makeButton, phoneLink, put, serverNow, showTime } from "./basics.js";
import { drawVitals } from "./chart.js";
import { runClock, stateOf } from "./rows.js";
import { isLegal, verbsOf } from "./verbs.js";

const AGAIN_MS = 300;                     // events come in bursts, and each reading of a card is in the audit log
const LOOK_MS = 500;                      // a digit closes: one that was on its way when the person called again does not
const HOURS = [6, 24, 48];

export class CardView {
  #hands;
  #on;                                    // opened(id), closed(), othersOf(alarm, card): what the page does with it
  #parts = null;
  #asked = 0;
  #timer = 0;
  #newsAt = -Infinity;
  #card = null;
  #isMissing = false;
  id = null;
  alarm = null;

  constructor(hands, on) {
    [this.#hands, this.#on] = [hands, on];
  }

  show(id, alarm, wait = 0) {
    if (this.id === id) return;
    [this.id, this.alarm, this.#card] = [id, null, null];
    $("card").replaceChildren();
    $("card").hidden = false;
    this.#parts = this.#build();
    if (alarm) this.#fillAlarm(alarm);
    this.#askSoon(wait);
    this.#on.opened(id);
  }

  hide() {
    if (this.id === null) return;
    clearTimeout(this.#timer);
    [this.id, this.alarm, this.#card, this.#parts] = [null, null, null, null];
    $("card").hidden = true;
    $("card").replaceChildren();
    this.#on.closed();
  }

  // What events or moves bring of this alarm; null where it left the open list and only a look tells.
  update(alarm) {
    if (alarm && alarm.version < this.alarm?.version) return;
    const isNews = !alarm || alarm.version !== this.alarm?.version;
    if (alarm) this.#fillAlarm(alarm);
    if (isNews) this.#askSoon(AGAIN_MS);
  }

  retry() {
    if (this.id !== null && this.#isMissing) this.#askSoon(0);
  }

  tick() {
    if (this.alarm) runClock(this.#parts, this.alarm);
  }

  takeDigit(digit) {
    if (performance.now() - this.#newsAt < LOOK_MS) return;
    this.#parts?.outcomes.children[digit - 1]?.click();
  }

  drawOthers() {
    if (!this.alarm) return;
    const others = this.#on.othersOf(this.alarm, this.#card), seen = others.map(({ alarm_id: id, version }) => `${id}.${version}`).join(" ");
    if (this.#parts.others.dataset.seen === seen) return;
    this.#parts.others.dataset.seen = seen;
    this.#section("others", others.map((other) => {
      const item = make("li"), go = makeButton(`${other.severity_zh} ${other.kind_zh} ${stateOf(other)}`, "", () => this.show(other.alarm_id, other));
      item.append(go, make("span", "why", showTime(other.raised_at)));
      return item;
    }));
  }

  #build() {
    const parts = { kind: make("h2"), state: make("p", "state"), raised: make("span"), clock: make("span", "clock"), limit: make("span", "limit"),
      verbs: make("div", "verbs"), outcomes: make("div", "outcomes"), failure: make("p", "failure"), why: make("p", "why") };
    const close = makeButton("×", "", () => this.hide()), head = make("div", "head"), times = make("p", "times");
    close.setAttribute("aria-label", "关闭卡片");
    head.append(parts.kind, close);
    times.append(parts.raised, parts.clock, parts.limit);
    $("card").append(head, parts.state, times, parts.failure, parts.verbs, parts.outcomes);
    const sections = [["steps", "处置步骤", "ol"], ["person", "老人", "div"], ["contacts", "联系人（依次拨打）", "ol"], ["seen", "系统所见", "div"],
      ["vitals", "体征", "div"], ["others", "此人其他未关闭的报警", "ul"], ["log", "经过", "ul"]];
    for (const [name, title, tag] of sections) {
      const section = make("section", name);
      section.hidden = true;
      section.append(make("h3", "", title), parts[name] = make(tag));
      $("card").append(section);
    }
    return parts;
  }

  #section(name, children) {
    this.#parts[name].replaceChildren(...children);
    this.#parts[name].parentElement.hidden = !children.length;
  }

  #fillAlarm(alarm) {
    const parts = this.#parts;
    if (this.alarm && (alarm.count > this.alarm.count || alarm.severity !== this.alarm.severity)) this.#newsAt = performance.now();
    this.alarm = alarm;
    $("card").className = `${alarm.class} ${alarm.handling}`;
    put(parts.kind, `${alarm.severity_zh} ${alarm.kind_zh} ${alarm.person}`.trim());
    put(parts.state, [stateOf(alarm), alarm.assigned_to && `交给 ${alarm.assigned_to}`, alarm.condition_zh, alarm.quality_zh, alarm.suppressed_zh,
      alarm.parent_id && `已并入 #${alarm.parent_id}`].filter(Boolean).join(" · "));
    put(parts.raised, `${showTime(alarm.raised_at)}${alarm.count > 1 ? ` · ${alarm.count} 次` : ""}`);
    this.#fillButtons(alarm);
    this.#section("seen", [alarm.why_zh, alarm.remark_zh, `设备 ${alarm.device}（${alarm.model}）· ${alarm.region_name || ""} ${alarm.region}`, this.#heard()]
      .filter(Boolean).map((said) => make("p", "", said)));
    this.tick();
    this.drawOthers();
  }

  #fillButtons(alarm) {
    const { verbs, outcomes } = this.#parts, legal = verbsOf(alarm), names = legal.map(({ code }) => code).join(" ");
    if (verbs.dataset.legal === names) return;      // a button under the finger stays the same one
    verbs.dataset.legal = names;
    verbs.replaceChildren(...legal.map((verb) => this.#hands.button(verb, () => this.alarm)));
    outcomes.replaceChildren(...(isLegal(alarm, "close") ? desk.words.outcomes : []).map(({ code, zh }, place) =>
      makeButton(zh, place < 9 ? String(place + 1) : "", () => this.#hands.close(this.alarm, code))));
  }

  #heard() {
    const device = this.#card?.device;
    if (!device) return "";
    return [device.heard_at ? `最近一次消息 ${showTime(device.heard_at)}` : "没有收到过消息",
      device.battery != null && `电量 ${device.battery}%`].filter(Boolean).join("，");
  }

  #askSoon(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    const number = ++this.#asked, { id } = this;
    try {
      const card = await call(`alarms/${id}`);
      if (this.id !== id || number !== this.#asked) return;
      this.#fillCard(card);
      this.#fail("");
    } catch (error) {
      if (this.id === id && number === this.#asked) this.#fail(error.message);
    }
  }

  #fail(why) {
    this.#isMissing = Boolean(why);
    put(this.#parts.failure, why);
  }

  #fillCard(card) {
    const isFirst = !this.#card;
    this.#card = card;
    this.#fillAlarm(card.alarm.version >= (this.alarm?.version ?? 0) ? card.alarm : this.alarm);
    this.#section("steps", (card.steps ?? []).map((step) => make("li", "", step)));
    if (isFirst) this.#section("person", card.person ? this.#person(card.person) : []);
    this.#section("contacts", card.contacts.map((contact) => {
      const item = make("li");
      item.append(make("b", "", contact.name), make("span", "", ` ${contact.relation} `), phoneLink(contact.phone));
      return item;
    }));
    this.#section("log", card.log.map((entry) => make("li", "", `${showTime(entry.at)} ${entry.actor}：${entry.said_zh}`)));
    if (isFirst) this.#askVitals(HOURS[0]);
  }

  #person(person) {
    const age = person.birth_year && new Date(serverNow()).getFullYear() - person.birth_year;
    const facts = [person.sex_zh, person.care_level && `护理等级 ${person.care_level}`, age && `${age} 岁`].filter(Boolean).join("，"), name = make("p"), address = make("p", "address");
    name.append(make("b", "", person.name), make("span", "", facts ? `（${facts}） ` : " "), person.phone ? phoneLink(person.phone) : "没有登记电话");
    address.append(makeButton("住址", "", () => this.#askAddress(address)));
    return [name, ...(person.notes ? [make("p", "notes", person.notes)] : []), address];
  }

  async #askAddress(into) {
    try {
      put(into, (await call(`alarms/${this.id}/address`)).address || "没有登记住址");
    } catch (error) {
      into.replaceChildren(into.firstChild, make("span", "", error.message));   // the button stays, to ask again
    }
  }

  async #askVitals(hours) {
    const { id } = this, choices = make("div", "hours"), chart = make("div");
    choices.append(...HOURS.map((each) => makeButton(`${each} 小时`, "", () => this.#askVitals(each))));
    choices.children[HOURS.indexOf(hours)].setAttribute("aria-pressed", "true");
    try {
      const answer = await call(`alarms/${id}/vitals?hours=${hours}`);
      drawVitals(chart, answer);
    } catch (error) {
      put(chart, error.message);
    }
    if (this.id === id) this.#section("vitals", [choices, chart]);
  }
}
