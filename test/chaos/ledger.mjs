// Who received what, in which order: finds what was lost, what came twice and what came in another order.

// What all clients receive, each once and in one order. The first one to receive a message says where it stands; all others have to agree.
export class Everybody {
  constructor() {
    this.order = [];
    this.places = new Map();
    this.lost = this.twice = 0;
  }

  // `reader.next` is the place of what it has to receive next.
  receive(reader, id) {
    let place = this.places.get(id);
    if (place === undefined) {
      place = this.order.push(id) - 1;
      this.places.set(id, place);
    }
    if (place < reader.next) {
      this.twice++;
      return;
    }
    this.lost += place - reader.next;
    reader.next = place + 1;
  }

  has(reader) {
    return reader.next === this.order.length;
  }

  // What is wrong once everybody should have everything. `stored`: [{ id, offset }] as acknowledged.
  judge(readers, stored) {
    const problems = [];
    const late = readers.reduce((sum, reader) => sum + this.order.length - reader.next, 0);
    if (this.lost + late > 0) problems.push(`lost: ${this.lost + late}, of them ${late} at the end`);
    if (this.twice > 0) problems.push(`twice, or late and out of order: ${this.twice}`);
    const sorted = [...stored].sort((a, b) => a.offset - b.offset).map(({ id }) => id);
    const unseen = sorted.filter((id) => !this.places.has(id));
    if (unseen.length > 0) problems.push(`acknowledged and received by nobody: ${unseen.length} (${unseen[0]})`);
    const acknowledged = new Set(sorted);
    const strange = this.order.filter((id) => !acknowledged.has(id));
    if (strange.length > 0) problems.push(`received and not acknowledged: ${strange.length} (${strange[0]})`);
    const at = sorted.findIndex((id, i) => id !== this.order[i]);
    if (unseen.length + strange.length === 0 && at >= 0) problems.push(`another order than that of the positions from ${sorted[at]} on`);
    return problems;
  }
}

// What each client tells itself: 1, 2, 3 .. in its own room. `reader.own`: the last one that it has received, `reader.told`: that was acknowledged.
export class Own {
  constructor() {
    this.lost = this.twice = 0;
  }

  receive(reader, number) {
    if (number <= reader.own) this.twice++;
    else {
      this.lost += number - reader.own - 1;
      reader.own = number;
    }
  }

  has(reader) {
    return reader.own >= reader.told;
  }

  judge(readers) {
    const problems = [];
    const late = readers.reduce((sum, reader) => sum + Math.max(reader.told - reader.own, 0), 0);
    if (this.lost + late > 0) problems.push(`lost of clients' own: ${this.lost + late}, of them ${late} at the end`);
    if (this.twice > 0) problems.push(`clients' own twice: ${this.twice}`);
    return problems;
  }
}

// Events by time: how many fell into the fullest second.
export class Peak {
  constructor() {
    this.buckets = [];
  }

  count(now) {
    const i = Math.floor(now / 100);
    this.buckets[i] = (this.buckets[i] ?? 0) + 1;
  }

  // Between two times, in any second.
  most(from, to) {
    let best = 0;
    for (let i = Math.floor(from / 100); i <= Math.floor(to / 100); i++) {
      let sum = 0;
      for (let k = i; k < i + 10; k++) sum += this.buckets[k] ?? 0;
      best = Math.max(best, sum);
    }
    return best;
  }
}
