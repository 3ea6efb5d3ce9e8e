// The band of calls for help that are not in the database (未入库). They are polled apart from the feed, for the
// database is likely to be away then.
// Rules of this file: what is known stays while the server is away; the banner tells of that.

import { $, call, duration, make, put, time } from "./basics.js";
import { announce } from "./sound.js";

const POLL_MS = 1000;
const DEAF_MS = 5000;                     // without an answer for so long it is not known what waits
const SILENT_S = 60;                      // a call that waits is repeated far more often, unless the bridge is gone
const sounded = new Set();                // those that were heard
let unstored = null, unstoredAt = 0, askedAt = 0;      // the newest answer, and performance.now() when it came

export function countUnstored() {
  return unstored?.count ?? 0;
}

export function forgetUnstored() {
  unstored = null;
  $("unstored").hidden = $("deaf").hidden = true;
}

export async function pollUnstored(isWanted, onChange) {
  if (isWanted()) await refresh(onChange); else askedAt = 0;
  drawUnstored();
  setTimeout(pollUnstored, POLL_MS, isWanted, onChange);
}

async function refresh(onChange) {
  askedAt ||= performance.now();          // since when no answer came
  try {
    [unstored, unstoredAt] = [await call("unstored"), performance.now()];
  } catch { return; }
  askedAt = 0;
  const names = unstored.calls.map(({ topic, received_at: at }) => `${at} ${topic}`);
  const isNew = names.some((name) => !sounded.has(name));
  sounded.clear();
  names.forEach((name) => sounded.add(name));
  drawUnstored();
  onChange();
  if (isNew) announce(true);
}

export function drawUnstored() {
  const isDeaf = askedAt && performance.now() - askedAt > DEAF_MS;
  $("deaf").hidden = !isDeaf && (unstored?.listening ?? true);
  if (!unstored) return;
  const { calls, count, silent } = unstored;
  $("unstored").hidden = !count && !silent;
  $("calls").hidden = !count;
  put($("waiting"), count ? `未入库 ${count} 条：呼救已收到，还没有进入数据库，请按设备联系` : "未入库");
  while ($("calls").children.length > calls.length) $("calls").lastChild.remove();
  while ($("calls").children.length < calls.length) $("calls").append(make("li"));
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
