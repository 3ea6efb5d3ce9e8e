// What every file of the page uses: elements, times, the words of the server, and the way to ask it.
// Rules of this file: what devices or people wrote goes in by textContent only; a request that fails says why in Chinese.

const ANSWER_MS = 6000;
export const desk = { words: null, stranger: () => {} };   // who asks and what they may; called when the token is refused
let clock = { now: Date.now(), speed: 1, at: performance.now() };

export const $ = (id) => document.getElementById(id);

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;   // else a selection would be lost each second
}

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function makeButton(text, key, onClick) {
  const button = Object.assign(make("button", "", text), { type: "button" });
  if (key) {
    const cap = make("kbd", "", key.toUpperCase());
    cap.setAttribute("aria-hidden", "true");
    button.setAttribute("aria-keyshortcuts", key);
    button.append(cap);
  }
  button.addEventListener("click", onClick);
  return button;
}

export function tell(why = "") {
  put($("message"), why);
  $("message").hidden = !why;
}

const FIELDS = { timeZone: "Asia/Shanghai", hourCycle: "h23", hour: "2-digit", minute: "2-digit" };
export const time = new Intl.DateTimeFormat("zh-CN", { ...FIELDS, month: "2-digit", day: "2-digit", second: "2-digit" });
export const timeOfDay = new Intl.DateTimeFormat("zh-CN", { ...FIELDS, second: "2-digit" });
export const minuteOfDay = new Intl.DateTimeFormat("zh-CN", FIELDS);

export function showTime(text) {
  return text ? time.format(new Date(text)) : "";
}

export function setClock({ now, speed }) {
  clock = { now: Date.parse(now), speed, at: performance.now() };
}

export function serverNow() {
  return clock.now + (performance.now() - clock.at) * clock.speed;   // a demo's day takes minutes
}

export function duration(exact) {
  const seconds = Math.max(0, Math.floor(exact));
  const part = (value) => String(Math.floor(value)).padStart(2, "0");
  const days = seconds >= 86400 ? `${Math.floor(seconds / 86400)}天 ` : "";
  return `${days}${part(seconds % 86400 / 3600)}:${part(seconds % 3600 / 60)}:${part(seconds % 60)}`;
}

export function phoneLink(phone) {
  const link = make("a", "phone", phone), number = phone.replace(/[^0-9+*#]/g, "");
  if (number) link.href = `tel:${number}`;
  return link;
}

export class Refusal extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;               // 0: the server was not reached
  }
}

export function authorization() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export async function call(path, body) {
  const hadToken = sessionStorage.getItem("token");
  const answer = await fetch(`api/${path}`, {
    method: body ? "POST" : "GET",
    headers: { ...authorization(), ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_MS),
  }).catch(() => { throw new Refusal("与服务器失去联系"); });
  const data = await answer.json().catch(() => null);     // cut, or somebody else's page
  if (answer.status === 401 && hadToken === sessionStorage.getItem("token")) desk.stranger(hadToken ? data?.detail_zh : "");
  if (!answer.ok || !data) throw new Refusal(data?.detail_zh || `服务器出错（${answer.status}）`, answer.status);
  return data;
}
