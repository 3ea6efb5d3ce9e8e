// The live page: polls the open alarms each second and lets an operator acknowledge, dispatch and close them. Calls for
// help that are not in the database (未入库) are polled apart, for then the database is likely to be away.
// Rules of this file: what devices or people wrote goes in by textContent only; the server names things and says
// which verbs are legal; what is shown always tells how old it is.
"use strict";

const POLL_MS = 1000, ANSWER_MS = 6000, STALE_MS = 3000;
const SILENT_S = 60;                      // a call that waits is repeated far more often, unless the bridge is gone
const $ = (id) => document.getElementById(id);
const rows = new Map();                   // alarm_id -> its <tr>, which carries its alarm
let shown = null, shownAt = 0;            // the newest answer, and performance.now() when it came
let asked = 0, answered = 0;              // numbers of requests: an answer overtaken by a newer one is dropped
let problem = "";                         // why the last poll failed
let words = null, chosen = null;          // words for buttons; the alarm and verb that the dialog is about
let unstored = null, unstoredAt = 0;      // the newest answer about calls that are not stored, and when it came
const sounded = new Set();                // those that were heard

const time = new Intl.DateTimeFormat("zh-CN", { timeZone: "Asia/Shanghai", hourCycle: "h23", month: "2-digit",
  day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const COLUMNS = [
  ["级别", (alarm) => alarm.severity_zh],
  ["类型", (alarm) => alarm.kind_zh],
  ["老人", (alarm) => alarm.person],
  ["地址", (alarm) => alarm.address],
  ["电话", (alarm) => alarm.phone],
  ["设备", (alarm) => alarm.device],
  ["区域", (alarm) => alarm.region_name || alarm.region],
  ["次数", (alarm) => String(alarm.count)],
  ["发生时间", (alarm) => time.format(new Date(alarm.raised_at))],
  ["已过", (alarm) => elapsed(alarm)],
  ["状态", (alarm) => [alarm.handling_zh, alarm.dispatched_to ?? alarm.acknowledged_by, alarm.condition_zh].filter(Boolean).join(" ")],
];
const CLOCK = COLUMNS.findIndex(([label]) => label === "已过");

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;   // else a selection would be lost each second
}

function elapsed(alarm) {
  const now = Date.parse(shown.now) + (performance.now() - shownAt) * shown.speed;
  return duration((now - Date.parse(alarm.raised_at)) / 1000);
}

function duration(exact) {
  const seconds = Math.max(0, Math.floor(exact));
  const part = (value) => String(Math.floor(value)).padStart(2, "0");
  const days = seconds >= 86400 ? `${Math.floor(seconds / 86400)}天 ` : "";
  return `${days}${part(seconds % 86400 / 3600)}:${part(seconds % 3600 / 60)}:${part(seconds % 60)}`;
}

async function call(path, body) {
  const token = sessionStorage.getItem("token");
  const answer = await fetch(`api/${path}`, {
    method: body ? "POST" : "GET",
    headers: { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_MS),
  }).catch(() => { throw new Error("与服务器失去联系"); });
  const data = await answer.json().catch(() => ({}));
  if (answer.status === 401) askForToken(token ? data.detail_zh : "");
  if (!answer.ok) throw new Error(data.detail_zh || `服务器出错（${answer.status}）`);
  return data;
}

async function refresh() {
  const number = ++asked;
  try {
    if (!words) useWords(await call("words"));
    const answer = await call("alarms?limit=300");
    if (number < answered) return;
    answered = number;
    [shown, shownAt, problem] = [answer, performance.now(), ""];
    draw();
  } catch (error) {
    if (number > answered) problem = error.message;
  }
  tick();
}

function useWords(answer) {
  words = answer;
  put($("operator"), `值班员 ${words.operator}`);
  $("outcomes").replaceChildren(...words.outcomes.map(({ code, zh }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: zh });
    button.addEventListener("click", () => answerDialog({ outcome: code }));
    return button;
  }));
}

function draw() {
  const { alarms, counts } = shown;
  const listed = alarms.length < counts.open ? ` · 只列出前 ${alarms.length} 条` : "";
  const hidden = counts.suppressed ? ` · 因区域中断未列出 ${counts.suppressed}` : "";
  put($("counts"), `未确认 ${counts.unacknowledged} · 生命 ${counts.life} · 共 ${counts.open}${listed}${hidden}`);
  entitle();
  $("board").hidden = false;
  $("calm").hidden = counts.open > 0;
  const ids = new Set(alarms.map((alarm) => alarm.alarm_id));
  for (const [id, row] of rows) if (!ids.has(id)) { row.remove(); rows.delete(id); }
  if (alarms.some((alarm) => alarm.class === "life" && isNews(alarm))) beep();
  alarms.forEach((alarm, place) => {
    const row = rows.get(alarm.alarm_id) ?? newRow(alarm);
    fill(row, alarm);
    if ($("alarms").children[place] !== row) $("alarms").insertBefore(row, $("alarms").children[place] ?? null);
  });
}

function entitle() {
  const open = shown?.counts.unacknowledged, waiting = unstored?.count;
  document.title = `${waiting ? `未入库 ${waiting} ` : ""}${open ? `(${open}) ` : ""}值班台`;
}

async function refreshUnstored() {
  try {
    [unstored, unstoredAt] = [await call("unstored"), performance.now()];
  } catch { return; }                     // the banner tells of a server that is away; what is known stays
  const names = unstored.calls.map(({ topic, received_at: at }) => `${at} ${topic}`);
  const isNew = names.some((name) => !sounded.has(name));
  sounded.clear();
  names.forEach((name) => sounded.add(name));
  drawUnstored();
  entitle();
  if (isNew) beep();
}

function drawUnstored() {
  const { calls, count, silent, listening } = unstored;
  $("deaf").hidden = listening;
  $("unstored").hidden = !count && !silent;
  $("calls").hidden = !count;
  put($("waiting"), count ? `未入库 ${count} 条：呼救已收到，还没有进入数据库，请按设备联系` : "未入库");
  while ($("calls").children.length > calls.length) $("calls").lastChild.remove();
  while ($("calls").children.length < calls.length) $("calls").append(document.createElement("li"));
  calls.forEach((waiting, place) => put($("calls").children[place], describe(waiting)));
  const notes = [count > calls.length && `只列出最早的 ${calls.length} 条。`,
    silent && `另有 ${silent} 条未入库的呼救一小时没有后续消息，不再列出，请与运维核对。`];
  put($("silent"), notes.filter(Boolean).join(""));
}

function describe(waiting) {
  const later = (performance.now() - unstoredAt) / 1000;
  return [
    waiting.event_zh || `${waiting.kind_zh}（报文无法解析）`,
    `设备 ${waiting.device}`,
    waiting.region ? `区域 ${waiting.region}` : `主题 ${waiting.topic}`,
    `收到 ${time.format(new Date(waiting.received_at))}`,
    `已等待 ${duration(waiting.waiting + later)}`,
    waiting.silent + later > SILENT_S && `${Math.floor(waiting.silent + later)} 秒没有后续消息`,
  ].filter(Boolean).join(" · ");
}

function isNews(alarm) {
  const before = rows.get(alarm.alarm_id)?.alarm;
  return before ? alarm.count > before.count || alarm.severity !== before.severity : alarm.handling === "unacknowledged";
}

function newRow(alarm) {
  const row = document.createElement("tr");
  for (const [label] of COLUMNS) {
    const cell = row.insertCell();
    cell.dataset.label = label;
    cell.append(document.createElement(label === "电话" ? "a" : "span"));
  }
  row.cells[CLOCK].className = "clock";
  for (const className of ["mark", "why"]) row.cells[1].append(Object.assign(document.createElement("span"), { className }));
  const buttons = row.insertCell();
  for (const { code, zh } of words.verbs) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: zh });
    button.dataset.verb = code;
    button.addEventListener("click", () => (code === "acknowledge" ? move(row.alarm, code, {}) : ask(row.alarm, code, zh)));
    buttons.append(button);
  }
  rows.set(alarm.alarm_id, row);
  return row;
}

function fill(row, alarm) {
  row.alarm = alarm;
  row.className = `${alarm.class} ${alarm.handling}`;
  COLUMNS.forEach(([, text], index) => put(row.cells[index].firstChild, text(alarm) ?? ""));
  put(row.querySelector(".mark"), alarm.quality_zh || alarm.remark_zh);
  put(row.querySelector(".why"), alarm.why_zh);
  const phone = row.querySelector("a");
  if (alarm.phone) phone.href = `tel:${alarm.phone.replace(/[^0-9+*#]/g, "")}`; else phone.removeAttribute("href");
  for (const button of row.lastChild.children) button.disabled = !alarm.verbs.includes(button.dataset.verb);
}

function ask(alarm, verb, zh) {
  chosen = { alarm, verb };               // the version as it is now: a call for help after it refuses the closing
  put($("question"), zh);
  put($("subject"), [alarm.severity_zh, alarm.kind_zh, alarm.person, alarm.address, alarm.device].filter(Boolean).join(" · "));
  $("sending").hidden = verb !== "dispatch";
  $("outcomes").hidden = verb !== "close";
  $("to").value = $("note").value = "";
  $("dialog").showModal();
}

function answerDialog(said) {
  const { alarm, verb } = chosen;
  $("dialog").close();
  move(alarm, verb, { ...said, note: $("note").value, ...(verb === "close" && { version: alarm.version }) });
}

async function move(alarm, verb, said) {
  try {
    await call(`alarms/${alarm.alarm_id}/${verb}`, said);
    $("message").hidden = true;
  } catch (error) {
    put($("message"), `${alarm.kind_zh} ${alarm.person || alarm.device}：${error.message}`);
    $("message").hidden = false;
  }
  await refresh();
}

function beep() {
  const audio = new AudioContext(), tone = audio.createOscillator();
  tone.connect(audio.destination);
  tone.onended = () => audio.close();
  tone.start();
  tone.stop(audio.currentTime + 0.4);
}

function askForToken(why) {
  sessionStorage.removeItem("token");
  shown = words = unstored = null;
  $("unstored").hidden = $("deaf").hidden = true;
  rows.clear();
  $("alarms").replaceChildren();
  $("board").hidden = true;
  $("login").hidden = false;
  put($("message"), why);
  $("message").hidden = !why;
}

function takeToken(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) return askForToken("令牌只含字母、数字和符号");
  sessionStorage.setItem("token", token);
  $("login").hidden = $("message").hidden = true;
  return refresh();
}

function tick() {
  const age = performance.now() - shownAt, seconds = Math.floor(age / 1000);
  const lost = $("login").hidden && Boolean(problem || (shown && age > STALE_MS));
  for (const row of rows.values()) put(row.cells[CLOCK].firstChild, elapsed(row.alarm));
  if (unstored) drawUnstored();
  put($("age"), shown ? `${seconds} 秒前的情况` : "");
  put($("banner"), (problem || "与服务器失去联系") + (shown ? `：所示为 ${seconds} 秒前的情况` : ""));
  $("banner").hidden = !lost;
  document.body.classList.toggle("lost", lost);
}

async function poll() {
  if ($("login").hidden) await refresh();
  setTimeout(poll, POLL_MS);
}

async function pollUnstored() {
  if ($("login").hidden) await refreshUnstored();
  setTimeout(pollUnstored, POLL_MS);
}

function takeTokenFromAddress() {
  const [, token] = location.hash.match(/^#token=(.+)$/) ?? [];
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);   // a token must not stay in the history
  takeToken(decodeURIComponent(token));
}

$("login").addEventListener("submit", (event) => { event.preventDefault(); takeToken($("token").value.trim()); $("token").value = ""; });
$("sending").addEventListener("submit", (event) => { event.preventDefault(); answerDialog({ to: $("to").value.trim() }); });
$("cancel").addEventListener("click", () => $("dialog").close());
window.addEventListener("hashchange", takeTokenFromAddress);
for (const label of [...COLUMNS.map(([name]) => name), "操作"]) $("columns").append(Object.assign(document.createElement("th"), { textContent: label }));
takeTokenFromAddress();
setInterval(tick, 500);
poll();
pollUnstored();
