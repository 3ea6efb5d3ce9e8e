// What is known of the open alarms: each by its number, in the server's order, those of one person together.
// Rules of this file: no elements here; the order is kept as alarms come and go, never sorted anew; an older
// version never replaces a newer one.

const SEVERITIES = ["critical", "high", "medium", "low"];

function placeOf(alarm) {
  const beyondMs = /\.\d{3}(\d+)/.exec(alarm.raised_at)?.[1];
  const raised = Date.parse(alarm.raised_at) + (beyondMs ? Number(`0.${beyondMs}`) : 0);
  return [alarm.class === "life" ? 0 : 1, SEVERITIES.indexOf(alarm.severity), raised, alarm.alarm_id];
}

function compare(one, other) {
  for (let at = 0; at < one.place.length; at++) if (one.place[at] !== other.place[at]) return one.place[at] - other.place[at];
  return 0;
}

export class Known {
  #byId = new Map();
  #order = [];
  #people = new Map();                    // person_id -> numbers of the person's alarms
  #left = new Map();                      // number -> version with which an alarm left by our own doing
  #last = null;                           // of a list that was cut, the last one: what comes after is known in part

  get size() { return this.#byId.size; }

  get(id) { return this.#byId.get(id); }

  replace(alarms, isCut) {
    const seen = new Set(alarms.map((alarm) => alarm.alarm_id));
    for (const id of [...this.#byId.keys()]) if (!seen.has(id)) this.remove(id);
    for (const alarm of alarms) this.put(alarm);
    this.#last = isCut ? alarms.at(-1) ?? null : null;
  }

  put(alarm) {
    const before = this.#byId.get(alarm.alarm_id);
    if (alarm.version < before?.version || alarm.version <= this.#left.get(alarm.alarm_id)) return false;
    alarm.place = placeOf(alarm);
    this.#byId.set(alarm.alarm_id, alarm);
    if (before && before.person_id === alarm.person_id && compare(before, alarm) === 0) {
      this.#order[this.#find(before)] = alarm;
      return true;
    }
    if (before) this.#takeOut(before);
    this.#order.splice(this.#find(alarm), 0, alarm);
    if (alarm.person_id != null) {
      if (!this.#people.has(alarm.person_id)) this.#people.set(alarm.person_id, new Set());
      this.#people.get(alarm.person_id).add(alarm.alarm_id);
    }
    return true;
  }

  remove(id, version) {
    if (version) this.#left.set(id, version);
    const alarm = this.#byId.get(id);
    if (!alarm || version < alarm.version) return;
    this.#byId.delete(id);
    this.#takeOut(alarm);
  }

  ofPerson(personId) {
    return [...this.#people.get(personId) ?? []].map((id) => this.#byId.get(id)).sort(compare);
  }

  // The first `limit` lines; each one's `under` says that it stands below a more urgent one of the same person.
  lines(limit) {
    const lines = [], shown = new Set();
    for (const alarm of this.#order) {
      if (shown.has(alarm)) continue;
      for (const each of alarm.person_id == null ? [alarm] : this.ofPerson(alarm.person_id)) {
        shown.add(each);
        lines.push({ alarm: each, under: each !== alarm });
      }
    }
    if (lines.length <= limit) return lines;
    // Where there is not room for all, the last third is for those that still wait for an answer.
    const head = lines.splice(0, Math.floor(limit * 2 / 3));
    const rank = ({ alarm }) => (alarm.handling !== "unacknowledged" ? 2 : alarm.class === "life" ? 0 : 1);
    const kept = new Set([0, 1, 2].flatMap((wanted) => lines.filter((each) => rank(each) === wanted)).slice(0, limit - head.length));
    return [...head, ...lines.filter((each) => kept.has(each))];
  }

  // Whether one of the first `limit` may be missing, for the list that we have was cut.
  isShort(limit) {
    const last = this.#order[limit - 1];
    return this.#last !== null && (!last || compare(last, this.#last) > 0);
  }

  callsForHelp() {                        // life comes first in the order
    const isCalling = (alarm) => alarm.class === "life" && alarm.handling === "unacknowledged";
    for (const alarm of this.#order) {
      if (isCalling(alarm)) return true;
      if (alarm.class !== "life") return false;
    }
    return false;
  }

  #takeOut(alarm) {
    this.#order.splice(this.#find(alarm), 1);
    const others = this.#people.get(alarm.person_id);
    others?.delete(alarm.alarm_id);
    if (others?.size === 0) this.#people.delete(alarm.person_id);
  }

  #find(alarm) {
    let [from, to] = [0, this.#order.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (compare(this.#order[middle], alarm) < 0) from = middle + 1; else to = middle;
    }
    return from;
  }
}
