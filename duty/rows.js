// A line of the list: built once, filled anew when its alarm changes, its clock run each second.
// Rules of this file: no phone and no address (they are on the card); buttons stay the same elements, so that a
// press is not lost to an event.

import { desk, duration, make, put, serverNow, showTime } from "./basics.js";
import { isLegal } from "./verbs.js";

const ON_ROWS = ["acknowledge", "dispatch", "arrive", "close", "unshelve", "reopen"];   // the card has all
const LABELS = ["报警", "老人", "次数", "发生时间", "状态", "操作"];

export function makeRow(hands, on) {
  const row = make("tr");
  for (const label of LABELS) row.insertCell().dataset.label = label;
  const [what, whom, count, when, state, does] = row.cells;
  row.parts = {
    severity: what.appendChild(make("span", "severity")), kind: what.appendChild(make("b", "kind")),
    mark: what.appendChild(make("span", "mark")), cleared: what.appendChild(make("span", "mark")),
    why: what.appendChild(make("span", "why")),
    person: whom.appendChild(make("b", "person")), device: whom.appendChild(make("span", "device")),
    count: count.appendChild(make("span")),
    raised: when.appendChild(make("span", "raised")), clock: when.appendChild(make("span", "clock")),
    limit: when.appendChild(make("span", "limit")),
    state: state.appendChild(make("span")), assigned: state.appendChild(make("span", "why")),
  };
  for (const verb of desk.words.verbs.filter(({ code }) => ON_ROWS.includes(code))) does.append(hands.button(verb, () => row.alarm));
  row.addEventListener("click", (event) => { if (!event.target.closest("button, a")) on.open(row.alarm); });
  row.addEventListener("focusin", () => on.select(row.alarm));   // keys go with the button that was pressed
  return row;
}

export function fillRow(row, alarm, under) {
  if (row.alarm === alarm && row.isUnder === under) return;
  [row.alarm, row.isUnder] = [alarm, under];
  row.dataset.alarm = alarm.alarm_id;
  row.className = [alarm.class, alarm.handling, under && "under"].filter(Boolean).join(" ");
  const { parts } = row;
  put(parts.severity, alarm.severity_zh);
  put(parts.kind, alarm.kind_zh);
  put(parts.mark, alarm.quality_zh || alarm.remark_zh || alarm.suppressed_zh);
  put(parts.cleared, alarm.condition_zh);
  put(parts.why, alarm.why_zh);
  put(parts.person, alarm.person);
  put(parts.device, [alarm.device, alarm.region_name || alarm.region].join(" · "));
  put(parts.count, String(alarm.count));
  put(parts.raised, showTime(alarm.raised_at));
  put(parts.state, stateOf(alarm));
  put(parts.assigned, alarm.assigned_to ? `交给 ${alarm.assigned_to}` : "");
  for (const button of row.lastChild.children) button.hidden = !isLegal(alarm, button.dataset.verb);
  runClock(row.parts, alarm);
}

export function stateOf(alarm) {
  if (alarm.handling === "closed") return ["已关闭", alarm.outcome_zh, alarm.closed_by].filter(Boolean).join(" ");
  const said = [alarm.handling_zh, alarm.dispatched_to ?? alarm.acknowledged_by].filter(Boolean).join(" ");
  return isShelved(alarm) ? `${said}，搁置至 ${showTime(alarm.shelved_until)}` : said;
}

export function isShelved(alarm) {
  return Boolean(alarm.shelved_until);    // the server takes it away when it is over
}

// The time since the call and, where somebody waits, the limit: until it is answered, then until somebody is there.
// Both count from the call on, as the figures do.
export function runClock({ clock, limit }, alarm) {
  const end = alarm.closed_at ? Date.parse(alarm.closed_at) : serverNow();
  put(clock, `${alarm.closed_at ? "历时" : "已过"} ${duration((end - Date.parse(alarm.raised_at)) / 1000)}`);
  const [what, allowed] = limitOf(alarm), left = allowed - (end - Date.parse(alarm.raised_at)) / 1000;
  const level = !what ? "" : left < 0 ? "over" : left < allowed / 3 ? "due" : "";
  put(limit, what ? `${what}${left < 0 ? "超时" : "还剩"} ${duration(Math.abs(left))}` : "");
  if (limit.dataset.level !== level) limit.dataset.level = level;
}

function limitOf(alarm) {
  const { answer_seconds: toAnswer, arrival_seconds: toArrive, arrival = {} } = desk.words;
  if (alarm.handling === "unacknowledged" && toAnswer) return ["应答", toAnswer];
  if (alarm.handling !== "dispatched" || !toArrive) return ["", 0];
  const codes = Object.keys(arrival).filter((code) => alarm.region.startsWith(code));   // the longest says it
  return ["到场", codes.length ? arrival[codes.sort((one, other) => other.length - one.length)[0]] : toArrive];
}
