// The live feed: reads GET /api/events as it comes and asks again where it broke off. EventSource cannot send a token.
// Rules of this file: no word from the server for SILENT_MS is a broken feed (it ticks every 2 s); each attempt
// after a failure waits longer, never as long as the neighbour's; what was missed is asked for by Last-Event-ID.

const SILENT_MS = 5000, FIRST_MS = 500, LONGEST_MS = 5000;

export class EventParser {
  // Takes text in any pieces, as the network cuts it, and hands out whole events {id, event, data}.
  #pieces = [];
  #event = "";
  #data = [];
  #id = "";
  #afterCr = false;

  * push(text) {
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    this.#afterCr = text.endsWith("\r");
    if (!/[\r\n]/.test(text)) { this.#pieces.push(text); return; }   // a long line is joined once, at its end
    const lines = (this.#pieces.join("") + text).split(/\r\n|\n|\r/);
    this.#pieces = [lines.pop()];
    for (const line of lines) if (line) this.#field(line); else yield* this.#finish();
  }

  #field(line) {
    const colon = line.indexOf(":"), name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "event") this.#event = value;
    if (name === "data") this.#data.push(value);
    if (name === "id" && !value.includes("\0")) this.#id = value;
  }

  * #finish() {
    const whole = { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
    const isEmpty = !this.#data.length;
    [this.#event, this.#data] = ["", []];
    if (!isEmpty) yield whole;
  }
}

export class Feed {
  // `on` has opened(resumed), event(name, data), broken(status): 0 where the server was not reached.
  #headers;
  #on;
  #lastId = "";
  #running = null;
  #failures = 0;

  constructor(headers, on) {
    [this.#headers, this.#on] = [headers, on];
  }

  start() {
    this.stop();
    this.#run(this.#running = new AbortController());
  }

  stop() {
    this.#running?.abort();
    [this.#running, this.#lastId, this.#failures] = [null, "", 0];
  }

  async #run(running) {
    while (this.#running === running) {
      const status = await this.#read(running).catch(() => 0);
      if (this.#running !== running) return;
      this.#on.broken(status);
      const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#failures++);
      await new Promise((done) => { setTimeout(done, longest * (0.5 + Math.random() / 2)); });
    }
  }

  async #read(running) {
    const attempt = new AbortController(), end = () => attempt.abort();
    running.signal.addEventListener("abort", end);
    let watch = setTimeout(end, SILENT_MS);
    try {
      const resume = this.#lastId ? { "Last-Event-ID": this.#lastId } : {};
      const answer = await fetch("api/events", { headers: { ...this.#headers(), ...resume }, signal: attempt.signal });
      if (!answer.ok || !answer.body) return answer.status || 502;
      this.#on.opened(Boolean(this.#lastId));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader(), parser = new EventParser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done || running.signal.aborted) return 0;
        clearTimeout(watch);
        watch = setTimeout(end, SILENT_MS);
        for (const { id, event, data } of parser.push(value)) {
          [this.#lastId, this.#failures] = [id || this.#lastId, 0];
          try { this.#on.event(event, JSON.parse(data)); } catch (error) { reportError(error); }   // ours, not the line's
        }
      }
    } finally {
      clearTimeout(watch);
      running.signal.removeEventListener("abort", end);
      attempt.abort();
    }
  }
}
