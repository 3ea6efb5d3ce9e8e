// The chart of vitals: one curve below the other over the same time, drawn as SVG.
// Rules of this file: what was not measured is a gap, never a line; what the curves show stands beside them in words.

import { make, minuteOfDay, showTime } from "./basics.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 420, HEIGHT = 100, LEFT = 36, RIGHT = 8, TOP = 16, BOTTOM = 18;
const LONGEST_STEP_MS = 15 * 60_000;      // further apart is a gap, unless the device's usual step is long
const CURVES = [["hr", "心率", "次/分", 10], ["spo2", "血氧", "%", 2]];

export function drawVitals(into, { points, since, until, measured = 0, left_out: leftOut = 0 }) {
  const curves = CURVES.filter(([field]) => points.some((point) => point[field] != null));
  const span = [Date.parse(since), Date.parse(until)];
  // Of many only some are sent: then they lie further apart than they were measured.
  const longest = Math.max(LONGEST_STEP_MS, measured > points.length ? (span[1] - span[0]) / 40 : 0);
  const said = describe(points) + (leftOut ? `；另有 ${leftOut} 个因设备时钟有误未列出` : "");
  into.replaceChildren(...curves.map((curve) => drawCurve(curve, points, span, longest)), make("p", "said", said));
}

function describe(points) {
  const last = (field) => points.findLast((point) => point[field] != null);
  const said = CURVES.map(([field, zh, unit]) => {
    const values = points.map((point) => point[field]).filter((value) => value != null);
    if (!values.length) return "";
    return `${zh} ${Math.min(...values)}–${Math.max(...values)} ${unit}，最近 ${last(field)[field]}（${showTime(last(field).ts)}）`;
  });
  const temp = last("temp"), pressure = last("sbp");
  if (temp) said.push(`体温 ${temp.temp} ℃（${showTime(temp.ts)}）`);
  if (pressure) said.push(`血压 ${pressure.sbp}/${pressure.dbp ?? "?"} mmHg（${showTime(pressure.ts)}）`);
  return said.filter(Boolean).join("；") || "这段时间没有体征数据";
}

function drawCurve([field, zh, unit, step], points, [since, until], longest) {
  const values = points.map((point) => point[field]).filter((value) => value != null);
  const low = Math.floor((Math.min(...values) - 1) / step) * step, high = Math.ceil((Math.max(...values) + 1) / step) * step;
  const x = (at) => LEFT + (at - since) / Math.max(1, until - since) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const chart = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: `curve ${field}` });
  chart.setAttribute("aria-label", `${zh}（${unit}），${showTime(since)} 至 ${showTime(until)}，${Math.min(...values)} 至 ${Math.max(...values)}`);
  chart.append(label(LEFT, 11, `${zh} ${unit}`, "start"));
  for (const value of [low, (low + high) / 2, high]) {
    chart.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }), label(LEFT - 4, y(value) + 4, String(value), "end"));
  }
  for (const [at, anchor] of [[since, "start"], [(since + until) / 2, "middle"], [until, "end"]]) {
    chart.append(label(x(at), HEIGHT - 4, minuteOfDay.format(at), anchor));
  }
  for (const run of runs(points, field, longest)) {
    const places = run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    if (run.length > 1) chart.append(element("polyline", { points: places.join(" "), class: "line" }));
    else chart.append(element("circle", { cx: x(run[0][0]), cy: y(run[0][1]), r: 2, class: "dot" }));
  }
  return chart;
}

function runs(points, field, least) {
  const found = [], longest = Math.max(least, 3 * usualStep(points, field));
  let last = null;                        // when the point before was measured, or null after a gap
  for (const point of points) {
    const at = Date.parse(point.ts);
    if (point[field] == null) {           // of a measurement of something else it says nothing
      if (point.temp == null && point.sbp == null) last = null;
      continue;
    }
    if (last === null || at - last > longest) found.push([]);
    found.at(-1).push([at, point[field]]);
    last = at;
  }
  return found;
}

function usualStep(points, field) {
  const times = points.filter((point) => point[field] != null).map((point) => Date.parse(point.ts));
  const steps = times.slice(1).map((at, index) => at - times[index]).sort((one, other) => one - other);
  return steps[steps.length >> 1] ?? 0;
}

function element(name, attributes) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function label(x, y, text, anchor) {
  const made = element("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}
