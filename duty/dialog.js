// The dialog of a verb that asks for something: to whom, with which outcome, for how long, into which alarm.
// Rules of this file: events never touch what is typed; a refused order stays open with the reason, and the next
// press goes with the alarm as it is shown then.

import { $, desk, makeButton, put } from "./basics.js";

const MINUTES = [[30, "30 分钟"], [60, "1 小时"], [240, "4 小时"], [480, "8 小时"], [1440, "24 小时"]];
const FORMS = {                           // verb: the field it needs, the word on its button
  dispatch: { field: "to", label: "派给谁", send: "派出" },
  assign: { field: "to", label: "交给谁", send: "交给" },
  close: { field: "outcome" },
  merge: { field: "parent", label: "并入编号为", send: "并入" },
  shelve: { field: "minutes", label: "搁置分钟数（最多 1440）", send: "搁置" },
  note: { field: "note", send: "记下" },
  reopen: { field: "", send: "重新打开" },
};
const LOOK_MS = 500;                      // a press that was on its way when a refusal came is not an answer to it
let chosen = null, hands = null, parentsOf = () => [], opened = () => {};

export function prepareDialog(given) {
  ({ hands, parentsOf, opened } = given);
  $("order").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("cancel").addEventListener("click", () => $("dialog").close());
  $("dialog").addEventListener("close", () => { chosen = null; given.closed(); });
}

export function isAsking() {
  return $("dialog").open;
}

export function ask(alarm, verb, zh) {
  chosen = { alarm, verb };               // the version as it is now
  const form = FORMS[verb] ?? { field: "", send: zh };
  put($("question"), zh);
  refuse("");
  put($("fresh"), "");
  $("to").value = $("number").value = $("note").value = "";
  $("explained").checked = false;
  showFields(form, alarm);
  $("choices").replaceChildren(...choices(form.field, alarm));
  drawSubject();
  $("dialog").showModal();
  (form.field === "to" ? $("to") : verb === "note" ? $("note") : $("question")).focus();
  opened();
}

function showFields({ field, label, send }, alarm) {
  const isNumber = field === "parent" || field === "minutes";
  $("to-field").hidden = field !== "to";
  $("number-field").hidden = !isNumber;
  $("explained-field").hidden = !(field === "outcome" && alarm.kind === "area_outage");
  put(field === "to" ? $("to-field").firstChild : $("number-field").firstChild, label ?? "");
  $("number").max = field === "minutes" ? 1440 : "";
  $("to").required = field === "to";
  $("number").required = isNumber;
  $("note").required = field === "note";
  $("note").placeholder = field === "note" ? "" : "可不填";
  $("send").hidden = !send;
  put($("send"), send ?? "");
}

// One touch each; the first nine by their number too.
function choices(field, alarm) {
  const offered = {
    outcome: () => desk.words.outcomes.map(({ code, zh }) => [zh, { outcome: code }]),
    minutes: () => MINUTES.map(([minutes, zh]) => [zh, { minutes }]),
    parent: () => parentsOf(alarm).map((other) => [
      `#${other.alarm_id} ${[other.kind_zh, other.person, other.device].filter(Boolean).join(" ")}`, { parent: other.alarm_id }]),
  }[field]?.() ?? [];
  return offered.map(([zh, said], place) => makeButton(zh, place < 9 ? String(place + 1) : "", () => send(said)));
}

export function takeDigit(digit) {
  $("choices").children[digit - 1]?.click();
}

// What came while the dialog stood open: the alarm as it is now, and how many others are new.
export function dialogSees(look, news) {
  const alarm = chosen && look(chosen.alarm.alarm_id);
  if (!chosen) return;
  const isListed = chosen.alarm.handling !== "closed" && !chosen.alarm.suppressed && !chosen.alarm.shelved_until;
  put($("fresh"), [!alarm && isListed && "该报警已不在待处理列表中", alarm?.version > chosen.alarm.version && "该报警刚刚有变化",
    news && `又来了 ${news} 条报警，关闭此窗后列出`].filter(Boolean).join("；"));
}

function drawSubject() {
  const { alarm } = chosen;
  put($("subject"), [alarm.severity_zh, alarm.kind_zh, alarm.person, alarm.device, alarm.count > 1 && `${alarm.count} 次`].filter(Boolean).join(" · "));
}

function submit() {
  const { field } = FORMS[chosen.verb] ?? {};
  if (field === "outcome") refuse("请选择结果");
  else if (field === "to" && !$("to").value.trim()) refuse("请写明派给谁");
  else send(field === "to" ? { to: $("to").value.trim() } : field === "parent" || field === "minutes" ? { [field]: Number($("number").value) } : {});
}

async function send(said) {
  const order = chosen, { alarm, verb } = order;
  if (order.isSent || performance.now() < order.deafUntil) return;               // a second press while the first one travels
  order.isSent = true;
  const body = { ...said, note: $("note").value };
  if (verb !== "note" && verb !== "assign" && verb !== "dispatch") body.version = alarm.version;
  if ($("explained").checked) body.explained = true;
  try {
    await hands.move(alarm, verb, body);
    if (chosen === order) $("dialog").close();
  } catch (error) {
    if (chosen !== order) return hands.failed(alarm, error);
    refuse(error.message);
    order.alarm = await hands.look(alarm);
    [order.isSent, order.deafUntil] = [false, performance.now() + LOOK_MS];
    if (chosen === order) drawSubject();
  }
}

function refuse(why) {
  put($("refusal"), why);
  $("refusal").hidden = !why;
}
