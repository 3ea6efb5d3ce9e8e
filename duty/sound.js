// The sound: repeats until nobody waits for an acknowledgement of a call for help; other alarms sound once.
// Rules of this file: a browser gives no sound before the first touch, and the page says so; muting ends by itself,
// and what is new is heard once even then.

import { $, put } from "./basics.js";

const REPEAT_MS = 3000, CLOSEST_MS = 1000, MUTE_MS = 60_000;
let audio = null, soundedAt = -Infinity, mutedUntil = 0, soon = 0, isCalling = () => false;

export function prepareSound(callsForHelp) {
  isCalling = callsForHelp;
  audio = new AudioContext();
  audio.addEventListener("statechange", drawSound);
  for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, () => { if (audio.state !== "running") audio.resume(); });
  $("mute").addEventListener("click", toggleMute);
  drawSound();
}

export function toggleMute() {
  mutedUntil = performance.now() < mutedUntil ? 0 : performance.now() + MUTE_MS;
  drawSound();
}

// Sounds for news: calls for help are told apart by their pitch.
export function announce(isLife) {
  const wait = soundedAt + CLOSEST_MS - performance.now();
  clearTimeout(soon);
  if (wait <= 0) play(isLife ? [880, 660, 880] : [520]);
  else if (isLife) soon = setTimeout(play, wait, [880, 660, 880]);
}

// To be called at least every second, and by the feed's ticks too: the timers of a hidden page come once a minute.
export function repeatSound() {
  const now = performance.now();
  if (isCalling() && now >= mutedUntil && now - soundedAt >= REPEAT_MS) play([880, 660, 880]);
  drawSound();
}

function play(pitches) {
  if (audio?.state !== "running") return;   // what was started now would all be heard at the first touch
  soundedAt = performance.now();
  const tone = audio.createOscillator(), start = audio.currentTime;
  pitches.forEach((pitch, step) => tone.frequency.setValueAtTime(pitch, start + step * 0.2));
  tone.connect(audio.destination);
  tone.start();
  tone.stop(start + pitches.length * 0.2 + 0.1);
}

function drawSound() {
  $("hint").hidden = audio.state === "running";
  const left = Math.ceil((mutedUntil - performance.now()) / 1000);
  put($("mute").firstChild, left > 0 ? `静音中 ${left} 秒` : "静音 1 分钟");
  $("mute").setAttribute("aria-pressed", String(left > 0));
  $("mute").hidden = left <= 0 && !isCalling();
}
