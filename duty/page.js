// The desk page: puts its parts together, follows the feed, and always tells how old it is what it shows.
// Rules of this file: what the feed brings is taken up at once (title, sound, counts), what is seen is drawn once a
// frame; a list that was read while events came is brought up to date by them; without a feed the list is polled.

import { $, authorization, call, desk, put, setClock, tell, timeOfDay } from "./basics.js";
import { CardView } from "./card.js";
import { ask, dialogSees, isAsking, prepareDialog } from "./dialog.js";
import { Feed } from "./feed.js";
import { prepareKeys } from "./keys.js";
import { Known } from "./known.js";
import { isShelved } from "./rows.js";
import { announce, prepareSound, repeatSound } from "./sound.js";
import { countUnstored, drawUnstored, forgetUnstored, pollUnstored } from "./unstored.js";
import { Hands } from "./verbs.js";
import { List, MOST } from "./views.js";

const POLL_MS = 1000, RESET_MS = 500, LIST_LIMIT = 1000, CARD_WAIT_MS = 250, FEWEST_MS = 2000, STEADY_MS = 3000;
let resets = 0;                           // a list that was asked for before the newest one is stale
let counts = null, heardAt = 0;           // how much is open, and performance.now() when that was known to be so
let isStreaming = false, isPolling = false;
let isFirst = true, isStale = true;       // nothing was read yet; what was read must be read anew
let problem = "", lostAt = 0;             // why it is not known how things stand, and Date.now() since when
let isAgain = false, loading = null, loadedAt = 0, missed = [], retry = 0, news = 0;

let known = new Known();
const hands = new Hands({ ask, moved, failed });
hands.look = async (alarm) => (await call(`alarms/${alarm.alarm_id}`).catch(() => ({ alarm }))).alarm;
const list = new List({ get: (id) => known.get(id), lines: (most) => known.lines(most) }, hands,
  { open: (alarm) => open(alarm.alarm_id), select: (alarm) => list.select(alarm.alarm_id), holds: () => card.id !== null });
const card = new CardView(hands, { opened: cardOpened, closed: cardClosed, othersOf });
const feed = new Feed(authorization, { opened, event, broken });

// ------------------------------------------------------------------------------------------------------ the feed

function opened() {
  card.retry();
}

function event(name, data) {
  [isStreaming, isPolling] = [true, false];   // headers alone are no feed: something between may swallow the rest
  if (name === "alarms") {
    if (loading) missed.push(data);
    apply(data);
  } else if (name === "reset") {
    [isStale, resets] = [true, resets + 1];
    if (isFirst) load(); else setTimeout(load, Math.random() * RESET_MS);   // all desks hear it at once
  } else if (name === "tick") {
    take(data);
    if (data.database === false) lose("数据库暂时不可用"); else found();
    fillUp();
  }
  repeatSound();                          // a hidden page's timers sleep, the feed does not
}

function broken(status) {
  const wasPolling = isPolling;
  [isStreaming, isPolling] = [false, status !== 401];   // a server without a feed is asked each second
  if (status === 401) askForToken("请输入有效的令牌");
  else {
    if (!status && !(wasPolling && performance.now() - heardAt < STEADY_MS)) lose("与服务器失去联系");
    if (!wasPolling) load();
  }
}

function lose(why) {
  lostAt ||= Date.now();
  problem = why;
  tick();
}

function found() {
  if (isStale) return;
  [problem, lostAt, heardAt] = ["", 0, performance.now()];
  tick();
}

// ------------------------------------------------------------------------------------------------------ the list

function load() {
  clearTimeout(retry);
  if (loading) return loading;
  const asked = loading = read().catch((error) => {
    if (!desk.words || loading !== asked) return;              // the token was refused
    lose(error.message);
    if (isStreaming) retry = setTimeout(load, POLL_MS * (0.75 + Math.random() / 2));
  }).finally(() => {
    if (loading !== asked) return;
    [loading, missed] = [null, []];
    if (isAgain) load();
  });
  return asked;
}

async function read() {
  const before = resets, whose = known;
  isAgain = false;
  const answer = await call(`alarms?limit=${LIST_LIMIT}`);
  if (whose !== known) return;            // asked for with a token that is gone
  take(answer);
  hear(answer.alarms);
  known.replace(answer.alarms, answer.alarms.length < answer.counts.open);
  for (const data of missed) apply(data);
  isAgain = resets !== before;            // what changed between this list and the reset was told to nobody
  [isFirst, isStale, loadedAt] = [false, isAgain, performance.now()];
  reveal();
  shown();
  found();
}

function reveal() {
  $("board").hidden = $("views").hidden = $("help").hidden = false;
}

function apply(data) {
  take(data);
  hear(data.alarms);
  for (const alarm of data.alarms) known.put(alarm);
  for (const id of data.gone) known.remove(id);
  if (data.alarms.length) reveal();       // also where the list could not be read yet: an alarm never waits for it
  for (const alarm of data.alarms) if (alarm.alarm_id === card.id) card.update(alarm);
  if (data.gone.includes(card.id)) card.update(null);
  found();
  shown();
}

function take(answer) {
  setClock(answer);
  ({ counts } = answer);
  const also = [counts.shelved && `搁置 ${counts.shelved}`, counts.suppressed && `因区域中断未列出 ${counts.suppressed}`];
  put($("counts"), [`未确认 ${counts.unacknowledged}`, `生命 ${counts.life}`, `共 ${counts.open}`, ...also].filter(Boolean).join(" · "));
  entitle();
}

function hear(alarms) {
  const isNews = (alarm) => {
    const before = known.get(alarm.alarm_id);
    return before ? alarm.count > before.count || alarm.severity !== before.severity : alarm.handling === "unacknowledged";
  };
  const fresh = alarms.filter(isNews), isLife = fresh.some((alarm) => alarm.class === "life");
  if (isLife || fresh.some((alarm) => alarm.class === "health")) announce(isLife);
  news += fresh.filter((alarm) => !known.get(alarm.alarm_id)).length;
}

function shown() {
  if (isAsking()) dialogSees((id) => known.get(id), news);
  card.drawOthers();
  list.changed();
  const isCut = counts.open > MOST;
  $("more").hidden = !isCut || list.view !== "open";
  put($("more"), isCut ? `共 ${counts.open} 条，只列出前 ${MOST} 条` : "");
  fillUp();
}

function fillUp() {
  if (isStreaming && !isStale && known.isShort(MOST) && performance.now() - loadedAt > FEWEST_MS) load();
}

// -------------------------------------------------------------------------------------------------- what is done

function isOpen(alarm) {
  return alarm.handling !== "closed" && !alarm.suppressed && !isShelved(alarm);
}

// The alarm after a move and as it was `before`: by now the feed may have told of the move, before its answer came.
function moved(alarm, before) {
  const leaves = isOpen(before) && !isOpen(alarm);
  if (isOpen(alarm)) known.put(alarm); else known.remove(alarm.alarm_id, alarm.version);
  if (alarm.alarm_id === card.id) if (leaves) card.hide(); else card.update(alarm);
  const isClosed = leaves && alarm.handling === "closed";   // one touch closes: what was closed is said
  tell(isClosed ? `已关闭：${alarm.kind_zh} ${alarm.person || alarm.device}（${alarm.outcome_zh}），可在“已关闭”里重新打开` : "");
  shown();
}

function failed(alarm, error) {
  if (!desk.words) return;                // the token was refused
  tell(`${alarm.kind_zh} ${alarm.person || alarm.device}：${error.message}`);
  if (alarm.alarm_id === card.id) card.update(null);
  if (!isStreaming) load();
}

function open(id, wait) {
  list.select(id);
  card.show(id, list.get(id), wait);
}

function othersOf(alarm, read) {
  const found = alarm.person_id == null ? read?.others ?? [] : known.ofPerson(alarm.person_id);
  return found.filter((other) => other.alarm_id !== alarm.alarm_id);
}

function parentsOf(alarm) {
  const others = othersOf(alarm), outages = known.lines(MOST).map((line) => line.alarm)
    .filter((other) => other.kind === "area_outage" && other.alarm_id !== alarm.alarm_id);
  return [...others, ...outages].slice(0, 9);
}

function cardOpened(id) {
  document.body.classList.add("carded");
  if (matchMedia("(max-width: 900px)").matches) scrollTo(0, 0);
  history.replaceState(null, "", `#alarm=${id}`);
}

function cardClosed() {
  document.body.classList.remove("carded");
  history.replaceState(null, "", location.pathname + location.search);
}

// Whom a key means: never an alarm that took the selected one's place and that nobody chose.
function current() {
  if (card.id !== null) return card.alarm;
  if (list.selected !== null && list.meant === null) tell("所选的报警已离开列表，下一条尚未选定：请按 j 或 Enter");
  return list.get(list.meant);
}

function step(by) {
  const alarm = list.step(by);
  if (alarm && card.id !== null) card.show(alarm.alarm_id, alarm, CARD_WAIT_MS);   // one card at a time, that of the selected line
}

// ------------------------------------------------------------------------------------------- who asks, what is on

function entitle() {
  const open = counts?.unacknowledged, waiting = countUnstored();
  document.title = `${waiting ? `未入库 ${waiting} ` : ""}${open ? `(${open}) ` : ""}值班台`;
}

function tick() {
  const seconds = counts ? Math.floor((performance.now() - heardAt) / 1000) : 0;
  const since = lostAt && problem ? `（自 ${timeOfDay.format(lostAt)}）` : "", age = `${seconds} 秒前的情况`;
  put($("age"), counts ? age : "");
  put($("banner"), problem + since + (counts ? `：所示为 ${age}` : ""));
  $("banner").hidden = !problem || !$("login").hidden;
  document.body.classList.toggle("lost", !$("banner").hidden);
}

function run() {
  tick();
  if (counts && desk.words) { list.tick(); card.tick(); drawUnstored(); }
  repeatSound();
}

async function poll() {
  if (isPolling && desk.words) await load();
  setTimeout(poll, POLL_MS);
}

async function begin() {
  if (!$("login").hidden) return;
  try {
    desk.words = await call("words");
  } catch (error) {
    if (error.status === 401) return;
    lose(error.message);
    return void setTimeout(begin, POLL_MS);
  }
  put($("operator"), `值班员 ${desk.words.operator}`);
  feed.start();
  openFromAddress();
}

desk.stranger = askForToken;
function askForToken(why) {
  if (!why && !$("login").hidden) return; // asked already: what it says stays
  sessionStorage.removeItem("token");
  feed.stop();
  for (const id of ["dialog", "keys"]) $(id).close();
  card.hide();
  list.clear();
  forgetUnstored();
  [known, counts, desk.words, isStreaming, isPolling, isFirst, isStale, problem, lostAt, loading, missed] =
    [new Known(), null, null, false, false, true, true, "", 0, null, []];
  clearTimeout(retry);
  $("board").hidden = $("views").hidden = $("help").hidden = true;
  $("login").hidden = false;
  tell(why);
}

function takeToken(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) return askForToken("令牌只含字母、数字和符号");
  if (desk.words) askForToken("");
  sessionStorage.setItem("token", token);
  $("login").hidden = true;
  tell();
  begin();
}

function fromAddress(name) {
  return location.hash.slice(1).split("&").find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
}

function openFromAddress() {
  const id = Number(fromAddress("alarm"));
  if (desk.words && Number.isSafeInteger(id) && id > 0) open(id);
}

function readAddress() {
  const token = fromAddress("token"), alarm = fromAddress("alarm");
  if (!token) return openFromAddress();
  history.replaceState(null, "", location.pathname + location.search + (alarm && `#alarm=${alarm}`));   // a token must not stay in the history
  takeToken(/%(?![0-9a-f]{2})/i.test(token) ? token : decodeURIComponent(token));
}

$("login").addEventListener("submit", (event) => { event.preventDefault(); takeToken($("token").value.trim()); $("token").value = ""; });
addEventListener("hashchange", readAddress);
prepareSound(() => known.callsForHelp());
prepareDialog({ hands, parentsOf, opened: () => { news = 0; }, closed: () => list.drawSoon() });
prepareKeys({ step, open: () => list.selected !== null && open(list.selected), close: () => card.hide(), hands, card,
  current });
if (fromAddress("token")) readAddress(); else begin();
setInterval(run, 500);
poll();
pollUnstored(() => Boolean(desk.words), entitle);
